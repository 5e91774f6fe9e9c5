//! The library of modules of a session: what is in it, and what comes and goes.

use std::collections::BTreeMap;

use super::{
    Session,
    digest::{Digest, module_digest},
};
use crate::{
    error::{Error, Result},
    lora::{library::LoraLibrary, module::LoraModule},
};

impl Session {
    /// The modules, in the order of coefficients.
    pub(super) fn modules(&self) -> &[LoraModule] {
        self.library.as_ref().map_or(&[], |library| &library.modules)
    }

    /// Names of the modules, in the order of coefficients.
    pub fn module_names(&self) -> Vec<String> {
        self.modules().iter().map(|module| module.name.clone()).collect()
    }

    /// Adds a module to the library.
    ///
    /// # Errors
    /// It does not fit the model, or another one has its name; the library stays as it was.
    pub fn add_module(&mut self, module: LoraModule) -> Result<()> {
        if self.modules().iter().any(|own| own.name == module.name) {
            let reason = "the library has one of this name; give it another";
            return Err(Error::mismatch(format!("module {}", module.name), reason));
        }
        let digests = [&self.digests[..], &[module_digest(&module)]].concat();
        self.set_modules([self.modules(), &[module]].concat(), digests)
    }

    /// A warning where the newest module is another one's copy.
    pub fn newest_is_a_copy(&self) -> Option<Error> {
        let (newest, others) = self.digests.split_last()?;
        if self.modules()[others.len()].changes_nothing() {
            return None;
        }
        let twin = others.iter().position(|digest| digest == newest)?;
        let (own, twin) = (&self.modules()[others.len()].name, &self.modules()[twin].name);
        let reason = format!(
            "its updates are those of {twin}, which count twice wherever both are composed; leave one of them out"
        );
        Some(Error::mismatch(format!("module {own}"), reason))
    }

    /// Takes a module out of the library.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn remove_module(&mut self, name: &str) -> Result<()> {
        let Some(index) = self.modules().iter().position(|module| module.name == name) else {
            return Err(Error::mismatch(format!("module {name}"), "it is not in the library"));
        };
        let (mut modules, mut digests) = (self.modules().to_vec(), self.digests.clone());
        modules.remove(index);
        digests.remove(index);
        self.set_modules(modules, digests)
    }

    /// Takes the place of all modules; what was kept under those before is forgotten.
    pub(super) fn set_modules(&mut self, modules: Vec<LoraModule>, digests: Vec<Digest>) -> Result<()> {
        self.library = match modules.is_empty() {
            true => None,
            false => Some(LoraLibrary::new(modules, &self.model.vit, &self.device.plain)?),
        };
        self.digests = digests;
        self.cache.clear();
        Ok(())
    }

    /// Takes modules out that change nothing, as the adapter of a method that only fits a head: in a mean they would only
    /// weaken the others. Why, for each of them.
    ///
    /// # Errors
    /// As [`Session::remove_module`].
    pub fn remove_idle_modules(&mut self) -> Result<Vec<Error>> {
        let idle = self.modules().iter().filter(|module| module.changes_nothing());
        let names: Vec<String> = idle.map(|module| module.name.clone()).collect();
        let reason = "left out: all of its updates are zero, as of a method that only fits a head";
        let leave_out = |name: String| {
            self.remove_module(&name)?;
            Ok(Error::mismatch(format!("module {name}"), reason))
        };
        names.into_iter().map(leave_out).collect()
    }

    /// Whether all modules that touch a layer have one rank there.
    pub fn has_one_rank(&self) -> bool {
        let mut ranks = BTreeMap::new();
        let layers = self.modules().iter().flat_map(|module| &module.layers);
        layers.into_iter().all(|(key, layer)| *ranks.entry(*key).or_insert(layer.rank) == layer.rank)
    }
}
