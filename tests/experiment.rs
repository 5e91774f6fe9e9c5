//! The comparison as a person runs it: a small grid on a tiny model, stopped, sharded, and reported.

mod support;

use std::{fs, path::Path};

use support::{run, succeed, tiny_model, write_task};

const METHODS: &str = "nearest-mean,linear-probe,uniform,learned,lora,random-modules";

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for (task, classes) in
            [("stripes", &["across", "diagonal", "down"][..]), ("lines", &["left", "right"])]
        {
            write_task(&dir.path().join(task).join("train"), classes, 0, 6);
            write_task(&dir.path().join(task).join("test"), classes, 10, 3);
        }
        let place = Self { dir };
        for seed in ["1", "2"] {
            let (model, data, out) = (tiny_model(), place.path("stripes/train"), place.path(seed));
            let options = ["--device", "cpu", "--steps", "2", "--rank", "2", "--seed", seed];
            succeed(
                &[&["train-module", "--model", &model, "--data", &data, "--out", &out][..], &options]
                    .concat(),
            );
        }
        place
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn experiment(&self, out: &str, extra: &[&str]) -> (i32, String, String) {
        self.grid(&["--shots", "1,2,full", "--seeds", "2", "--methods", METHODS], out, extra)
    }

    fn grid(&self, grid: &[&str], out: &str, extra: &[&str]) -> (i32, String, String) {
        let (model, out, cache) = (tiny_model(), self.path(out), self.path("cache"));
        let (tasks, modules) = ([self.path("stripes"), self.path("lines")], [self.path("1"), self.path("2")]);
        let mut arguments = vec!["experiment", "--model", &model, "--device", "cpu", "--out", &out];
        arguments.extend_from_slice(&[
            "--tasks",
            &tasks[0],
            &tasks[1],
            "--modules",
            &modules[0],
            &modules[1],
        ]);
        arguments.extend_from_slice(grid);
        arguments.extend_from_slice(&["--steps", "2", "--cka-images", "6", "--cache", &cache]);
        arguments.extend_from_slice(extra);
        run(&arguments)
    }

    /// The lines of a file of results without what a clock says, as they were written.
    fn lines(&self, file: &str) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.path(file)).expect("results");
        let parse = |line: &str| {
            let mut line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            for clock in ["seconds", "test_seconds"] {
                line[clock] = 0.into();
            }
            line
        };
        text.lines().map(parse).collect()
    }
}

#[test]
fn a_grid_gives_one_line_per_run_a_report_and_pictures() {
    let place = Place::new();
    let shifts = ["--shift", "label,covariate", "--shift-shots", "2", "--max-corrupted", "4"];
    let (code, text, err) = place.experiment("out", &shifts);
    assert_eq!(code, 0, "{err}");
    assert!(
        text.contains("report.md") && err.contains("lines, all images, seed 1, lora: test"),
        "{text}{err}"
    );
    assert!(err.contains("lines, 2 shots, uneven classes, seed 0, lora: test"), "{err}");
    let lines = place.lines("out/results.jsonl");
    assert_eq!(lines.len(), 2 * (3 + 1) * 2 * 6, "tasks, draws, seeds, methods");
    for line in &lines {
        let accuracy = line["test_accuracy"].as_f64().expect("accuracy");
        assert!((0.0..=1.0).contains(&accuracy) && line["settings"] == lines[0]["settings"], "{line}");
        let composes =
            ["uniform", "learned", "random-modules"].contains(&line["method"].as_str().expect("name"));
        assert_eq!(line["composition"].is_object(), composes, "{line}");
        let clean = line["draw"] == "even" && line["shots"] == "2";
        assert_eq!(line["corrupted"].as_array().map(Vec::len), Some(if clean { 13 } else { 0 }), "{line}");
        let compared = if line["method"] == "lora" { 2 } else { 0 };
        assert_eq!(line["cka"].as_array().map(Vec::len), Some(compared), "{line}");
    }
    check_report(&place.path("out"));
}

fn check_report(out: &str) {
    let report = fs::read_to_string(format!("{out}/report.md")).expect("report");
    let parts = [
        "# Composition",
        "all combinations of the tasks, shots, seeds and methods seen",
        "In words",
        "Does composition beat",
        "This is task shift:",
        "Wins/ties/losses",
    ];
    for part in
        [&parts[..], &["Label shift", "Covariate shift", "jpeg 3", "learned", "Task by task"]].concat()
    {
        assert!(report.contains(part), "{part}: {report}");
    }
    let plots = ["gain", "accuracy", "composition-lines", "composition-stripes", "similarity"];
    for plot in plots {
        let file = format!("plots/{plot}.svg");
        let svg = fs::read_to_string(Path::new(out).join(&file)).expect("plot");
        assert!(report.contains(&file) && roxmltree::Document::parse(&svg).is_ok(), "{plot}");
    }
}

#[test]
fn a_module_with_the_name_of_a_task_is_told() {
    let place = Place::new();
    let (model, task, out) = (tiny_model(), place.path("stripes"), place.path("out"));
    let module = place.path("modules/stripes");
    fs::create_dir(place.path("modules")).and_then(|()| fs::rename(place.path("1"), &module)).expect("moves");
    let run = ["experiment", "--model", &model, "--device", "cpu", "--tasks", &task, "--modules", &module];
    let grid = ["--shots", "1", "--seeds", "1", "--methods", "linear-probe,uniform", "--out", &out];
    succeed(&[&run[..], &grid[..]].concat());
    let report = fs::read_to_string(format!("{out}/report.md")).expect("report");
    assert!(report.contains("Modules have the names of tasks (stripes)"), "{report}");
    assert!(!report.contains("This is task shift:"), "{report}");
}

#[test]
fn a_method_that_cannot_run_is_named_and_costs_no_other() {
    let place = Place::new();
    let (model, data, out) = (tiny_model(), place.path("stripes/train"), place.path("2"));
    fs::remove_dir_all(&out).expect("the module of rank 2");
    let options = ["--device", "cpu", "--steps", "2", "--rank", "3"];
    succeed(&[&["train-module", "--model", &model, "--data", &data, "--out", &out][..], &options].concat());
    let small = ["--shots", "1", "--seeds", "1", "--methods", "lorahub,uniform"];
    let (code, text, err) = place.grid(&small, "out", &[]);
    assert_eq!(code, 1, "{text}{err}");
    for run in ["stripes, 1 shot, seed 0, lorahub: module 2: rank 3", "lines, 1 shot, seed 0, lorahub:"] {
        assert_eq!(err.matches(run).count(), 1, "{run}: {err}");
    }
    assert!(text.contains("2 runs; report in"), "{text}");
}

#[test]
fn what_was_stopped_goes_on_to_the_same_results() {
    let place = Place::new();
    assert_eq!(place.experiment("whole", &[]).0, 0);
    let whole = fs::read_to_string(place.path("whole/results.jsonl")).expect("results");
    let torn: usize = whole.split_inclusive('\n').take(30).map(str::len).sum();
    fs::create_dir(place.path("half")).expect("folder");
    fs::copy(place.path("whole/experiment.json"), place.path("half/experiment.json")).expect("settings");
    fs::write(place.path("half/results.jsonl"), &whole[..torn - 40]).expect("results");
    let (code, _, err) = place.experiment("half", &["--resume"]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("[30/72]") && !err.contains("[29/72]"), "29 whole lines were there: {err}");
    assert_eq!(place.lines("half/results.jsonl"), place.lines("whole/results.jsonl"));
    let (code, _, err) = place.experiment("whole", &[]);
    assert!(code == 0 && err.is_empty(), "nothing is left to do: {err}");
    let (code, _, err) = place.experiment("whole", &["--batch-size", "3"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("adapt.train.batch_size") && err.contains("16"), "{err}");
}

#[test]
fn shards_make_the_grid_together() {
    let place = Place::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let (code, text, err) = place.experiment("out", &["--shard", shard]);
        let next = format!("--report-only --out {}", place.path("out"));
        assert!(code == 0 && text.contains(&next), "{text}{err}");
    }
    let parts = ["1", "2", "3"].map(|part| place.lines(&format!("out/results-{part}-of-3.jsonl")).len());
    assert_eq!(parts, [24, 24, 24]);
    let out = place.path("out");
    let text =
        succeed(&["experiment", "--report-only", "--out", &out, "--json", &place.path("summary.json")]);
    assert!(text.starts_with("72 runs"), "{text}");
    let summary = support::json(Path::new(&place.path("summary.json")));
    assert_eq!((&summary["runs"], &summary["seeds"]), (&72.into(), &2.into()));
    assert!(Path::new(&format!("{out}/report.md")).exists());
}

#[test]
fn results_of_other_settings_are_refused_before_anything_runs() {
    let place = Place::new();
    let (settings, lines) = (place.path("out/experiment.json"), place.path("out/results.jsonl"));
    let small = ["--shots", "1", "--seeds", "1", "--methods", "nearest-mean"];
    // Without results settings are nobody's.
    fs::create_dir(place.path("out")).expect("folder");
    let report = place.path("out/report.md");
    fs::write(&report, "of something else").expect("writes");
    let (code, _, err) = place.grid(&small, "out", &[]);
    assert!(code == 2 && err.contains("report.md of something else"), "{err}");
    assert_eq!(fs::read_to_string(&report).expect("report"), "of something else");
    fs::remove_file(&report).expect("removes");
    fs::write(&settings, r#"{"model": "another"}"#).expect("writes");
    let (code, _, err) = place.grid(&small, "out", &[]);
    assert_eq!(code, 0, "{err}");
    let done = fs::read_to_string(&lines).expect("results");
    let (code, _, err) = place.grid(&small, "out", &["--max-test", "5"]);
    assert!(code == 2 && err.contains("max_test") && err.contains("remove the whole folder"), "{err}");
    fs::remove_file(&settings).expect("removes");
    let more = ["--shots", "1", "--seeds", "2", "--methods", "nearest-mean"];
    let (code, _, err) = place.grid(&more, "out", &["--max-test", "5"]);
    assert!(code == 2 && err.contains("the results beside it need it"), "{err}");
    assert_eq!(fs::read_to_string(&lines).expect("results"), done, "nothing ran");
}

#[test]
fn results_of_other_images_are_refused_before_anything_runs() {
    let place = Place::new();
    let grid = |seeds| ["--shots", "1", "--seeds", seeds, "--methods", "nearest-mean"];
    assert_eq!(place.grid(&grid("1"), "out", &[]).0, 0);
    assert_eq!(place.grid(&grid("2"), "out", &[]).0, 0, "the same images");
    let done = fs::read_to_string(place.path("out/results.jsonl")).expect("results");
    fs::remove_file(place.path("lines/test/left/011.png")).expect("removes");
    let (code, _, err) = place.grid(&grid("3"), "out", &[]);
    assert!(code == 2 && err.contains("lines") && err.contains("use another --out"), "{err}");
    assert_eq!(fs::read_to_string(place.path("out/results.jsonl")).expect("results"), done, "nothing ran");
    assert_eq!(place.grid(&grid("1"), "other", &[]).0, 0);
}

#[test]
fn every_module_of_a_comparison_is_usable_and_counts_once() {
    let place = Place::new();
    // Modules that ship are for another model of this name.
    let (model, task, out) = (place.path("deit-tiny-patch16-224"), place.path("stripes"), place.path("out"));
    fs::create_dir(&model).expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(Path::new(&tiny_model()).join(file), Path::new(&model).join(file)).expect("copies");
    }
    let grid = ["--tasks", &task, "--shots", "1", "--seeds", "1", "--methods", "linear-probe", "--out", &out];
    let own = [&["experiment", "--device", "cpu", "--model", &model], &grid[..]].concat();
    let (code, _, err) = run(&own);
    assert!(
        code == 2 && err.contains("--modules none") && err.contains("all of them must be usable"),
        "{err}"
    );
    assert!(!Path::new(&out).exists(), "nothing was begun");
    succeed(&[&own[..], &["--modules", "none"]].concat());
    // Beside the two that the grid names.
    let again = format!("{}/", place.path("1"));
    let (code, _, err) = place.grid(&["--shots", "1", "--seeds", "1"], "twice", &["--modules", &again]);
    assert!(code == 1 && err.contains("it is taken once"), "{err}");
    let settings = support::json(Path::new(&place.path("twice/experiment.json")));
    assert_eq!(settings["modules"].as_array().map(Vec::len), Some(2));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let place = Place::new();
    let (model, out, empty) = (tiny_model(), place.path("out"), place.path("1"));
    let small = ["--model", &model, "--device", "cpu", "--tasks", &place.path("stripes"), "--shots", "1"];
    let (settings, summary) = (place.path("seed.json"), place.path("out.json"));
    fs::write(&settings, r#"{"train": {"seed": 7}}"#).expect("writes");
    let cases: [(&[&str], &str); 8] = [
        (&[&small[..], &["--shard", "1/2", "--json", &summary]].concat(), "--report-only"),
        (&[&small[..], &["--settings", &settings]].concat(), "with --seeds"),
        (&["--model", &model, "--device", "cpu", "--tasks", &place.path("")], "name the tasks in it"),
        (&[&small[..], &["--shift", "covariate"]].concat(), "--shots asks for none"),
        (&["--report-only"], "cannot"),
        (&["--model", &model, "--tasks", &place.path("stripes"), "--shots", "0"], "above 0"),
        (&["--model", &model, "--tasks", &place.path("stripes"), "--shard", "3/2"], "between 1 and n"),
        (&["--model", &model, "--device", "cpu", "--tasks", &empty], "train"),
    ];
    for (arguments, part) in cases {
        let (code, _, err) = run(&[&["experiment", "--out", &out][..], arguments].concat());
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
}
