//! Downloads from a Hub on this machine: the cache, its faults, and what a person is told.

mod hub_server;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use hub_server::{Manner, Server};
use loraloom::error::{Error, Result};
use loraloom::hub::{Hub, HubConfig, Progress, is_repo_id};

const REPO: &str = "owner/vit-tiny";
/// Larger than one read, so that progress comes in several pieces.
const WEIGHTS: usize = 300_000;

struct Setup {
    server: Server,
    cache: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        Self { server: Server::start(), cache: tempfile::tempdir().expect("a folder") }
    }

    /// With a model of three files.
    fn with_model() -> Self {
        let setup = Self::new();
        setup.put("config.json", Manner::Serve, b"{\"model_type\":\"vit\"}");
        setup.put("preprocessor_config.json", Manner::Serve, b"{\"size\":32}");
        setup.put("model.safetensors", Manner::Redirect, &weights());
        setup
    }

    fn put(&self, file: &str, manner: Manner, body: &[u8]) {
        self.server.put(&format!("{REPO}/resolve/main/{file}"), manner, body);
    }

    fn remove(&self, file: &str) {
        self.server.content.lock().expect("lock").files.remove(&format!("{REPO}/resolve/main/{file}"));
    }

    fn config(&self) -> HubConfig {
        HubConfig {
            endpoint: self.server.endpoint() + "/",
            cache: self.cache.path().join("hub"),
            token: None,
            offline: false,
            patience: Duration::from_secs(20),
        }
    }

    fn model(&self) -> Result<std::path::PathBuf> {
        Hub::new(self.config())?.model(REPO, &mut |_| {})
    }

    /// The message of the error that asking for the model gives.
    fn refusal(&self) -> String {
        self.model().expect_err("refused").to_string()
    }

    fn blobs(&self) -> Vec<String> {
        let folder = self.cache.path().join("hub/models--owner--vit-tiny/blobs");
        let entries = std::fs::read_dir(folder).expect("blobs");
        entries.map(|e| e.expect("entry").file_name().into_string().expect("utf-8")).collect()
    }
}

fn weights() -> Vec<u8> {
    (0..WEIGHTS).map(|i| (i % 251) as u8).collect()
}

fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_model_lands_in_the_layout_of_the_python_cache() -> Result<()> {
    let setup = Setup::with_model();
    let mut seen: Vec<Progress> = Vec::new();
    let folder = Hub::new(setup.config())?.model(REPO, &mut |progress| seen.push(progress))?;
    let repo = setup.cache.path().join("hub/models--owner--vit-tiny");
    assert_eq!(folder, repo.join("snapshots/c0ffee"));
    assert_eq!(std::fs::read(folder.join("model.safetensors")).expect("weights"), weights());
    assert!(folder.join("preprocessor_config.json").is_file());
    assert_eq!(std::fs::read_to_string(repo.join("refs/main")).expect("ref"), "c0ffee");
    let last = seen.last().expect("progress");
    assert_eq!((last.file.as_str(), last.done, last.total), ("model.safetensors", 300_000, 300_000));
    assert!(seen.iter().filter(|p| p.file == "model.safetensors").count() > 2);
    Ok(())
}

#[test]
fn a_complete_snapshot_needs_no_request() -> Result<()> {
    let mut setup = Setup::with_model();
    let folder = setup.model()?;
    let before = setup.server.requests().len();
    assert_eq!(setup.model()?, folder);
    assert_eq!(setup.server.requests().len(), before);
    setup.server.stop();
    assert_eq!(setup.model()?, folder);
    let offline = Hub::new(HubConfig { offline: true, ..setup.config() })?;
    assert_eq!(offline.model(REPO, &mut |_| {})?, folder);
    assert_eq!(offline.model("owner/vit-tiny@c0ffee", &mut |_| {})?, folder, "a commit is a revision");
    Ok(())
}

#[test]
fn an_absent_preprocessor_config_is_asked_for_once() -> Result<()> {
    let setup = Setup::with_model();
    setup.remove("preprocessor_config.json");
    setup.model()?;
    let before = setup.server.requests().len();
    let folder = setup.model()?;
    assert_eq!(setup.server.requests().len(), before);
    assert!(!folder.join("preprocessor_config.json").exists());
    let marker = "hub/models--owner--vit-tiny/.no_exist/c0ffee/preprocessor_config.json";
    assert!(setup.cache.path().join(marker).is_file(), "the marker of the Python library");
    Ok(())
}

#[test]
fn a_cache_without_the_optional_file_serves_when_the_hub_fails() -> Result<()> {
    let mut setup = Setup::with_model();
    let folder = setup.model()?;
    std::fs::remove_file(folder.join("preprocessor_config.json")).expect("removed");
    setup.put("preprocessor_config.json", Manner::Status(503), b"{}");
    assert_eq!(setup.model()?, folder);
    setup.server.stop();
    assert_eq!(setup.model()?, folder);
    Ok(())
}

#[test]
fn offline_and_unreachable_say_what_is_missing_and_what_to_do() -> Result<()> {
    let mut setup = Setup::with_model();
    let offline = Hub::new(HubConfig { offline: true, ..setup.config() })?;
    let message = offline.model(REPO, &mut |_| {}).expect_err("nothing cached").to_string();
    assert_says(
        &message,
        &[REPO, "config.json", "HF_HUB_OFFLINE", "not cached", "connect once", "give a folder"],
    );
    assert!(setup.server.requests().is_empty(), "offline means no request");
    setup.server.stop();
    let message = setup.refusal();
    assert_says(&message, &["no answer", &setup.server.endpoint(), "HF_ENDPOINT", "models--owner--vit-tiny"]);
    Ok(())
}

#[test]
fn the_token_is_sent_as_bearer_and_never_shown() -> Result<()> {
    let setup = Setup::with_model();
    setup.server.content.lock().expect("lock").token = Some("hf_right".into());
    let ask = |token: Option<&str>| {
        Hub::new(HubConfig { token: token.map(Into::into), ..setup.config() })?.model(REPO, &mut |_| {})
    };
    let none = ask(None).expect_err("401").to_string();
    assert_says(&none, &["401", "private or gated", "set HF_TOKEN"]);
    let wrong = ask(Some("hf_wrong")).expect_err("401").to_string();
    assert_says(&wrong, &["401", "not accepted"]);
    assert!(!wrong.contains("hf_wrong"));
    ask(Some("hf_right"))?;
    Ok(())
}

#[test]
fn each_status_has_its_own_advice() {
    let expected =
        [(403, "ask for access"), (404, "check the id"), (429, "too many"), (500, "fault"), (418, "418")];
    for (status, words) in expected {
        let setup = Setup::with_model();
        setup.put("config.json", Manner::Status(status), b"");
        assert_says(&setup.refusal(), &[REPO, "config.json", words, &status.to_string()]);
    }
}

#[test]
fn other_formats_are_refused_by_name() {
    let others =
        [("model.safetensors.index.json", "max_shard_size"), ("pytorch_model.bin", "save_pretrained")];
    for (file, words) in others {
        let setup = Setup::with_model();
        setup.remove("model.safetensors");
        setup.put(file, Manner::Serve, b"{}");
        let error = setup.model().expect_err("refused");
        assert!(matches!(&error, Error::Unsupported { option, .. } if option == file), "{error}");
        assert_says(&error.to_string(), &[words]);
    }
}

#[test]
fn models_and_adapters_are_told_apart() -> Result<()> {
    let setup = Setup::with_model();
    let message = Hub::new(setup.config())?.adapter(REPO, &mut |_| {}).expect_err("a model").to_string();
    assert_says(&message, &["whole model, not a PEFT adapter"]);
    setup.remove("config.json");
    setup.put("adapter_config.json", Manner::Serve, b"{\"r\":4}");
    assert_says(&setup.refusal(), &["PEFT adapter, not a model"]);
    setup.put("adapter_model.safetensors", Manner::Redirect, &weights());
    let folder = Hub::new(setup.config())?.adapter(REPO, &mut |_| {})?;
    assert!(
        folder.join("adapter_config.json").is_file() && folder.join("adapter_model.safetensors").is_file()
    );
    Ok(())
}

#[test]
fn a_download_that_breaks_off_is_resumed() -> Result<()> {
    let setup = Setup::with_model();
    setup.put("model.safetensors", Manner::HangUp, &weights());
    assert_says(&setup.refusal(), &["model.safetensors", "broke off", "run again"]);
    let offline = Hub::new(HubConfig { offline: true, ..setup.config() })?;
    offline.model(REPO, &mut |_| {}).expect_err("half a file is not in the cache");
    setup.put("model.safetensors", Manner::Serve, &weights());
    let folder = setup.model()?;
    assert_eq!(std::fs::read(folder.join("model.safetensors")).expect("weights"), weights());
    let ranges: Vec<_> =
        setup.server.requests().iter().filter_map(|r| r.headers.get("range").cloned()).collect();
    assert!(ranges.contains(&"bytes=150000-".into()), "{ranges:?}");
    Ok(())
}

#[test]
fn a_short_body_that_ends_properly_never_enters_the_cache() -> Result<()> {
    let setup = Setup::with_model();
    setup.put("model.safetensors", Manner::Half, &weights());
    assert_says(&setup.refusal(), &["150000 bytes", "300000", "thrown away"]);
    let snapshot = setup.cache.path().join("hub/models--owner--vit-tiny/snapshots/c0ffee/model.safetensors");
    assert!(!snapshot.exists());
    assert!(!setup.blobs().iter().any(|blob| blob.ends_with(".part")), "{:?}", setup.blobs());
    setup.put("model.safetensors", Manner::Serve, &weights());
    assert_eq!(std::fs::read(setup.model()?.join("model.safetensors")).expect("weights"), weights());
    Ok(())
}

#[test]
fn a_finished_part_of_a_killed_run_does_not_block_the_next() -> Result<()> {
    let setup = Setup::with_model();
    setup.put("model.safetensors", Manner::HangUp, &weights());
    setup.refusal();
    let part = setup.blobs().into_iter().find(|blob| blob.ends_with(".part")).expect("a part");
    let part = setup.cache.path().join("hub/models--owner--vit-tiny/blobs").join(part);
    std::fs::write(part, vec![0; WEIGHTS]).expect("written");
    setup.put("model.safetensors", Manner::Serve, &weights());
    assert_eq!(std::fs::read(setup.model()?.join("model.safetensors")).expect("weights"), weights());
    Ok(())
}

#[test]
fn a_branch_that_moves_gives_one_snapshot() -> Result<()> {
    let setup = Setup::with_model();
    setup.put("model.safetensors", Manner::HangUp, &weights());
    setup.refusal();
    setup.server.content.lock().expect("lock").commit = "decade".into();
    setup.put("config.json", Manner::Serve, b"{\"new\":1}");
    setup.put("model.safetensors", Manner::Serve, &weights());
    let folder = setup.model()?;
    assert!(folder.ends_with("decade"));
    assert_eq!(std::fs::read(folder.join("config.json")).expect("config"), b"{\"new\":1}");
    Ok(())
}

#[test]
fn hostile_and_broken_answers_are_errors() {
    let cases = [
        (Manner::Claim(5 << 30), "more than the limit"),
        (Manner::WildEtag, "does not answer as the Hub does"),
        (Manner::Lost, "does not answer as the Hub does"),
        (Manner::Page, "does not answer as the Hub does"),
    ];
    for (manner, words) in cases {
        let setup = Setup::with_model();
        setup.put("config.json", manner, b"{\"a\":1}");
        assert_says(&setup.refusal(), &["config.json", words]);
        assert!(!setup.cache.path().join("hub/models--owner--vit-tiny/blobs").exists());
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_named() -> Result<()> {
    let setup = Setup::with_model();
    let cache = setup.cache.path().join("file");
    std::fs::write(&cache, b"").expect("written");
    let hub = Hub::new(HubConfig { cache: cache.join("hub"), ..setup.config() })?;
    let message = hub.model(REPO, &mut |_| {}).expect_err("a file is no folder").to_string();
    assert_says(&message, &["cannot write to", "file/hub", "HF_HUB_CACHE"]);
    Ok(())
}

#[test]
fn a_hub_that_sends_nothing_is_given_up() -> Result<()> {
    let setup = Setup::with_model();
    setup.put("config.json", Manner::Silent, b"{}");
    let config = HubConfig { patience: Duration::from_millis(300), ..setup.config() };
    let message = Hub::new(config)?.model(REPO, &mut |_| {}).expect_err("silence").to_string();
    assert_says(&message, &["sent nothing", "give a folder"]);
    Ok(())
}

#[test]
fn ids_are_told_from_paths_and_traversal_is_refused() -> Result<()> {
    for id in ["google/vit-base-patch16-224", "o/n@refs/pr/5", "o/n@0123abcd", "timm/vit_tiny.augreg_in21k"] {
        assert!(is_repo_id(id), "{id}");
    }
    let setup = Setup::new();
    let hub = Hub::new(setup.config())?;
    let long = format!("owner/{}", "n".repeat(97));
    let bad = [
        "",
        "name",
        "a/b/c",
        "../b",
        "a/..",
        "a/b@../../x",
        "a/b@",
        "/b",
        "a/",
        "a--b/c",
        "a b/c",
        ".a/b",
        "a/é",
        &long,
    ];
    for text in bad {
        assert!(!is_repo_id(text), "{text}");
        assert!(matches!(hub.model(text, &mut |_| {}), Err(Error::Mismatch { .. })), "{text}");
    }
    assert!(Path::new("src/error.rs").exists() && !is_repo_id("src/error.rs"), "an existing path is a path");
    assert!(setup.server.requests().is_empty());
    Ok(())
}

#[test]
fn the_environment_reads_as_in_python() -> Result<()> {
    let home = tempfile::tempdir().expect("a folder");
    std::fs::write(home.path().join("token"), "hf_file\n").expect("written");
    let from = |vars: &[(&str, &str)]| {
        let vars: Vec<_> =
            vars.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect();
        HubConfig::from_vars(|name| vars.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()))
    };
    let path = home.path().to_str().expect("utf-8");
    let config = from(&[("HF_HOME", path), ("HF_HUB_OFFLINE", "True")])?;
    assert_eq!(
        (config.cache.as_path(), config.token.as_deref()),
        (home.path().join("hub").as_path(), Some("hf_file"))
    );
    assert!(config.offline);
    let config = from(&[
        ("HOME", "/h"),
        ("HF_HUB_CACHE", "/c"),
        ("HF_TOKEN", " hf_var "),
        ("HF_ENDPOINT", "http://m"),
    ])?;
    assert_eq!((config.cache.as_path(), config.token.as_deref()), (Path::new("/c"), Some("hf_var")));
    assert_eq!((config.endpoint.as_str(), config.offline), ("http://m", false));
    let config = from(&[("HOME", "/h"), ("HF_HOME", ""), ("HF_HUB_OFFLINE", "0")])?;
    assert_eq!(config.cache, Path::new("/h/.cache/huggingface/hub"));
    assert_eq!(
        (config.endpoint.as_str(), config.token, config.offline),
        ("https://huggingface.co", None, false)
    );
    assert!(from(&[]).is_err());
    assert!(Hub::new(HubConfig { token: Some("a\nb".into()), ..Setup::new().config() }).is_err());
    for endpoint in ["", "huggingface.co", "ftp://x", "https://", "http://a b"] {
        assert!(
            Hub::new(HubConfig { endpoint: endpoint.into(), ..Setup::new().config() }).is_err(),
            "{endpoint}"
        );
    }
    Ok(())
}
