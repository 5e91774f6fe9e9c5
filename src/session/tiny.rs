//! A tiny session for tests.

use std::path::Path;

use super::{ModelOptions, Session};
use crate::{
    device::{DeviceChoice, block_on},
    lora::module::LoraModule,
};

/// A tiny model on the CPU with modules of `tests/golden/adapters`, whose updates are multiplied by a strength.
pub(super) fn session(modules: &[&str], strength: f32) -> Session {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/adapters");
    let (model, options) = (golden.join("tiny-vit"), ModelOptions::default());
    let opened = block_on(Session::open_dir(DeviceChoice::Cpu, "tiny", &model, &options));
    let mut session = opened.expect("a model");
    for name in modules {
        let (mut module, _) = LoraModule::from_dir(&golden.join(name)).expect("a module");
        module.name = (*name).into();
        module.layers.values_mut().for_each(|layer| layer.scaling *= strength);
        session.add_module(module).expect("fits");
    }
    session
}
