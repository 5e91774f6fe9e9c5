//! `info`: devices, and what a model or module is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use loraloom::{
    DeviceChoice, LoraModule, VitConfig, block_on,
    error::{Error, Result},
    files::last_part,
    open_device,
    report::{Warning, count},
    session::{place::CARD, task::TaskFile},
    shipped,
};
use serde::Serialize;

use super::{
    Outcome,
    args::{DeviceName, InfoArgs},
    model, output,
};

#[derive(Serialize)]
struct Info {
    version: &'static str,
    devices: Vec<DeviceLine>,
    shipped: Vec<ShippedLine>,
    model: Option<ModelLine>,
    modules: Vec<ModuleLine>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct DeviceLine {
    kind: &'static str,
    name: String,
    software: bool,
}

#[derive(Serialize)]
struct ShippedLine {
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    img_size: Option<usize>,
    license: Option<String>,
    has_weights: bool,
    bytes: usize,
    modules: Vec<shipped::ModuleEntry>,
}

#[derive(Serialize)]
struct ModelLine {
    name: String,
    config: VitConfig,
    parameters: usize,
    classes: usize,
}

#[derive(Serialize)]
struct ModuleLine {
    name: String,
    base_model: Option<String>,
    layers: usize,
    ranks: Vec<usize>,
    targets: Vec<&'static str>,
    parameters: usize,
    classes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    card: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The model cannot be loaded, or none of the modules.
pub fn run(arguments: &InfoArgs) -> Result<Outcome> {
    let model = arguments.model.as_deref().map(describe_model).transpose()?;
    let (modules, warnings) = describe_modules(&arguments.modules)?;
    let info = Info {
        version: env!("CARGO_PKG_VERSION"),
        devices: devices(),
        shipped: shipped_lines(),
        model,
        modules,
        warnings: warnings.iter().map(Warning::from).collect(),
    };
    print(&info);
    output::json(arguments.json.as_deref(), &info)?;
    Ok(if warnings.is_empty() { Outcome::Fine } else { Outcome::Warned })
}

/// What modules are, and what is wrong with them; a bad one is a warning, unless none is left.
fn describe_modules(paths: &[PathBuf]) -> Result<(Vec<ModuleLine>, Vec<Error>)> {
    let (mut modules, mut warnings) = (Vec::new(), Vec::new());
    for path in paths {
        match describe_module(path) {
            Ok((line, found)) => {
                modules.push(line);
                warnings.extend(found);
            }
            Err(error) if paths.len() == 1 => return Err(error),
            Err(error) => warnings.push(error),
        }
    }
    warnings.iter().for_each(output::warning);
    if modules.is_empty() && !paths.is_empty() {
        return Err(Error::mismatch("--modules", "none of them can be read"));
    }
    Ok((modules, warnings))
}

fn devices() -> Vec<DeviceLine> {
    let open = |choice| block_on(open_device(choice)).ok().map(|device| device.info);
    let lines = [open(DeviceChoice::Cpu), open(DeviceChoice::Gpu)].into_iter().flatten();
    lines.map(|info| DeviceLine { kind: info.kind, name: info.name, software: info.software }).collect()
}

fn shipped_lines() -> Vec<ShippedLine> {
    let line = |manifest: shipped::Manifest| ShippedLine {
        has_weights: manifest.has_model(),
        bytes: manifest.bytes(),
        img_size: manifest.img_size,
        model: manifest.name,
        license: manifest.license,
        modules: manifest.modules,
    };
    shipped::all().into_iter().map(line).collect()
}

fn describe_model(name: &str) -> Result<ModelLine> {
    let session = model::open_named(name, &Default::default(), DeviceName::Cpu)?;
    let found = session.model();
    Ok(ModelLine {
        name: name.into(),
        config: found.vit.config.clone(),
        parameters: found.vit.num_parameters(),
        classes: found.head.as_ref().map_or(0, |head| head.classes()),
    })
}

fn describe_module(path: &Path) -> Result<(ModuleLine, Vec<Error>)> {
    let dir = model::adapter_dir(path)?;
    let (module, warnings) = LoraModule::from_dir(&dir)?;
    // Of an id of the Hub the folder is a commit's, and of `.` the name is elsewhere.
    let whole =
        if path.is_dir() { fs::canonicalize(path).unwrap_or(dir.clone()) } else { path.to_path_buf() };
    let layers = module.layers.values();
    let mut ranks: Vec<usize> = layers.clone().map(|layer| layer.rank).collect();
    ranks.sort_unstable();
    ranks.dedup();
    let mut targets: Vec<_> = module.layers.keys().map(|(_, target)| *target).collect();
    targets.sort_unstable();
    targets.dedup();
    let line = ModuleLine {
        parameters: layers.map(|layer| layer.a.len() + layer.b.len()).sum(),
        layers: module.layers.len(),
        ranks,
        targets: targets.into_iter().map(|target| target.name()).collect(),
        classes: module.head.as_ref().map(|head| head.classes),
        base_model: module.base_model,
        name: last_part(&whole.to_string_lossy()).to_string(),
        card: card(&dir).or_else(|| task_card(&dir)),
    };
    Ok((line, warnings))
}

/// What `train-module` wrote beside a module, in a line.
fn card(dir: &Path) -> Option<String> {
    let card: serde_json::Value = serde_json::from_str(&fs::read_to_string(dir.join(CARD)).ok()?).ok()?;
    let (classes, images) = (card["classes"].as_array()?.len(), card["num_train"].as_u64()?);
    let share = |value: &serde_json::Value| value.as_f64().map(|value| format!("{:.1} %", 100.0 * value));
    let tested = share(&card["probe_test_accuracy"]).zip(share(&card["module"]["test_accuracy"]));
    let tested =
        tested.map_or(String::new(), |(probe, module)| format!(": linear probe {probe}, module {module}"));
    let source = card["source"].as_str().map_or(String::new(), |source| format!("; {source}"));
    let (classes, images) = (count(classes, "class", "classes"), count(images as usize, "image", "images"));
    Some(format!("{classes}, {images}{tested}{source}"))
}

/// What a saved task says of itself, in a line.
fn task_card(dir: &Path) -> Option<String> {
    let task = TaskFile::read(dir).ok()?;
    let what =
        format!("saved task of {}, {}", task.method.name(), count(task.classes.len(), "class", "classes"));
    let Some(own) = task.measured else { return Some(what) };
    let images = count(own.train_images, "image", "images");
    let share = |name: &str, value: Option<f64>| value.map(|value| format!("{name} {:.1} %", 100.0 * value));
    let shares = [share("test", own.test_accuracy), share("held out", own.held_out_accuracy)];
    let shares: Vec<String> = shares.into_iter().flatten().collect();
    let measured = if shares.is_empty() { String::new() } else { format!(": {}", shares.join(", ")) };
    Some(format!("{what}, {images}{measured}"))
}

fn license(stated: &Option<String>) -> String {
    stated.as_ref().map_or(String::new(), |license| format!(", licence {license}"))
}

fn print(info: &Info) {
    output::print(&format!("loraloom {}", info.version));
    for device in &info.devices {
        let note = if device.software { " (software renderer)" } else { "" };
        output::print(&format!("device {}: {}{note}", device.kind, device.name));
    }
    // Who asks about something gets that.
    let shipped = if info.model.is_none() && info.modules.is_empty() { &info.shipped[..] } else { &[] };
    for own in shipped {
        let what = if own.has_weights { "embedded model" } else { "modules for" };
        let size = own.bytes as f64 / 1e6;
        let modules = count(own.modules.len(), "module", "modules");
        let at = own.img_size.map_or(String::new(), |side| format!(" at {side} px"));
        let licence = license(&own.license);
        output::print(&format!("{what} {}{at}: {size:.1} MB, {modules}{licence}", own.model));
        for module in &own.modules {
            let card = module.card.as_deref().unwrap_or("no card");
            output::print(&format!("  {}: {card}{}", module.name, license(&module.license)));
        }
    }
    if let Some(model) = &info.model {
        let config = &model.config;
        output::print(&format!(
            "model {}: {}, width {}, {}, {}x{} px in patches of {}x{}, {:.1} M parameters, {}",
            model.name,
            count(config.depth, "block", "blocks"),
            config.embed_dim,
            count(config.num_heads, "head", "heads"),
            config.img_size.0,
            config.img_size.1,
            config.patch_size.0,
            config.patch_size.1,
            model.parameters as f64 / 1e6,
            count(model.classes, "class", "classes")
        ));
    }
    for module in &info.modules {
        output::print(&format!(
            "module {}: {} ({}), rank {:?}, {} parameters, base model {}",
            module.name,
            count(module.layers, "layer", "layers"),
            module.targets.join(", "),
            module.ranks,
            module.parameters,
            module.base_model.as_deref().unwrap_or("not stated")
        ));
        if let Some(card) = &module.card {
            output::print(&format!("  {card}"));
        }
    }
}
