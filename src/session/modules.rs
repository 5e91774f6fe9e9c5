//! The library of modules of a session: what is in it, and what comes and goes.

use std::{cell::OnceCell, collections::BTreeMap};

use super::{Session, digest::module_digest};
use crate::{
    error::{Error, Result},
    lora::{
        library::{LoraLibrary, check_fit},
        module::LoraModule,
    },
};

impl Session {
    /// The modules, in the order of coefficients.
    pub(super) fn modules(&self) -> &[LoraModule] {
        &self.modules
    }

    /// The modules joined, if there are any: once, since whoever adds several wants none of them joined before the last.
    pub(super) fn library(&self) -> Option<&LoraLibrary> {
        let join = || LoraLibrary::of_fitting(self.modules.clone(), &self.device.plain);
        (!self.modules.is_empty()).then(|| self.library.get_or_init(join))
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
        check_fit(&module, &self.model.vit)?;
        self.digests.push(module_digest(&module));
        self.modules.push(module);
        self.forget_composed();
        Ok(())
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
        self.modules.remove(index);
        self.digests.remove(index);
        self.forget_composed();
        Ok(())
    }

    /// Takes all modules out.
    pub(super) fn clear_modules(&mut self) {
        self.modules.clear();
        self.digests.clear();
        self.forget_composed();
    }

    /// What was kept under the modules of before.
    fn forget_composed(&mut self) {
        self.library = OnceCell::new();
        self.cache.clear();
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
