//! Options of a `config.json` that change what a model computes, and that nothing here follows.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Options by name or, with a `*`, by how the name begins, and what to do about each.
const REFUSED: [(&str, &str); 4] = [
    (
        "num_register_tokens",
        "registers are not computed here; use the model of the same name without registers",
    ),
    ("partial_rotary_factor", ROTARY),
    ("quantization_config", "quantised weights are not read; save the model again without quantisation"),
    ("rope_*", ROTARY),
];

const ROTARY: &str =
    "rotary position embeddings are not computed here; use a ViT whose positions are learned";

/// Refuses options that would change what a model computes; one that is null, false, 0 or empty changes nothing.
///
/// # Errors
/// [`Error::Unsupported`] with the option and its value.
pub fn refuse(name: &str, config: &Map<String, Value>) -> Result<()> {
    let reason =
        |key: &str| REFUSED.iter().find(|(option, _)| is_named(key, option)).map(|(_, reason)| reason);
    for (key, value) in config.iter().filter(|(_, value)| !is_off(value)) {
        if let Some(reason) = reason(key) {
            let option = format!("{key} = {:.80}", value.to_string());
            return Err(Error::Unsupported { name: name.into(), option, reason: (*reason).into() });
        }
    }
    Ok(())
}

fn is_named(key: &str, option: &str) -> bool {
    option.strip_suffix('*').map_or(key == option, |start| key.starts_with(start))
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(key: &str, value: Value) -> Option<String> {
        let config = Map::from_iter([("qkv_bias".into(), true.into()), (key.into(), value)]);
        refuse("model/config.json", &config).err().map(|error| error.to_string())
    }

    #[test]
    fn what_changes_the_mathematics_is_refused_by_name_and_what_is_off_is_not() {
        for (key, value) in [
            ("num_register_tokens", json!(4)),
            ("quantization_config", json!({"quant_method": "bitsandbytes", "load_in_8bit": true})),
            ("rope_theta", json!(100.0)),
            ("rope_parameters", json!({"rope_theta": 100.0})),
            ("partial_rotary_factor", json!(0.5)),
        ] {
            let text = refused(key, value).unwrap_or_else(|| panic!("{key} must be refused"));
            assert!(text.starts_with("model/config.json: ") && text.contains(key), "{text}");
        }
        for (key, value) in [
            ("num_register_tokens", json!(0)),
            ("quantization_config", Value::Null),
            ("rope_scaling", Value::Null),
            ("rope_parameters", json!({})),
            ("use_mask_token", json!(true)),
            ("europe_theta", json!(1)),
        ] {
            assert_eq!(refused(key, value), None, "{key}");
        }
    }
}
