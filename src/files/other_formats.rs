//! What lies where a file of a model or of an adapter is missing, and what to do about it: the same advice for folders and
//! for repositories of the Hub.

use crate::error::Error;

/// (missing, found, what to do); THIS stands for the folder or the repository.
const OTHER_FORMATS: [(&str, &str, &str); 5] = [
    (
        "config.json",
        "adapter_config.json",
        "this is a PEFT adapter, not a model; name it with --modules, in the page load it as a module",
    ),
    ("adapter_config.json", "config.json", "this is a whole model, not a PEFT adapter; load it as the model"),
    (
        "model.safetensors",
        "model.safetensors.index.json",
        "the weights are split into shards; in Python, load the model and call \
         save_pretrained(DIR, max_shard_size=\"4GB\"), then give DIR",
    ),
    (
        "model.safetensors",
        "pytorch_model.bin",
        "only safetensors are read, and a pickle can run code; in Python, call \
         AutoModelForImageClassification.from_pretrained(\"THIS\").save_pretrained(DIR, safe_serialization=True), then \
         give DIR; of a repository some revision may be converted, such as refs/pr/1, which @refs/pr/1 after its id names",
    ),
    (
        "adapter_model.safetensors",
        "adapter_model.bin",
        "only safetensors are read, and a pickle can run code; in Python, load the adapter with \
         PeftModel.from_pretrained and call save_pretrained(DIR, safe_serialization=True), then give DIR",
    ),
];

/// Why `this` cannot be read though another file is there in place of the missing one; `is_there` looks for a file.
pub fn refusal(this: &str, missing: &str, mut is_there: impl FnMut(&str) -> bool) -> Option<Error> {
    let mut others = OTHER_FORMATS.iter().filter(|(file, ..)| *file == missing);
    let (_, found, advice) = others.find(|(_, found, _)| is_there(found))?;
    Some(Error::Unsupported {
        name: this.into(),
        option: (*found).into(),
        reason: advice.replace("THIS", this),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_named_with_what_to_do() {
        let refused = |missing: &str, there: &str| {
            refusal("own/vit", missing, |file| file == there).map(|error| error.to_string())
        };
        let message = refused("model.safetensors", "pytorch_model.bin").expect("a pickle is refused");
        assert!(message.contains("from_pretrained(\"own/vit\")") && message.contains("pytorch_model.bin"));
        assert!(
            refused("adapter_config.json", "config.json").is_some_and(|text| text.contains("whole model"))
        );
        assert_eq!(refused("config.json", "pytorch_model.bin"), None);
    }
}
