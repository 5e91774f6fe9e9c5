//! What the documents publish is what was recorded: reports and plots of `docs/comparison` are made anew from the
//! results beside them, and tables that people edit are compared with those reports and with the modules' cards.

mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use loraloom::{
    DeviceChoice, block_on,
    experiment::{
        markdown::points,
        pairs::{ByPair, by_set, exhausted, paired},
        plan::{Draw, Shots},
        results::{Run, read_dir},
        statistics::Interval,
    },
    session::{ModelOptions, digest::hex},
    shipped,
};
use support::{json, succeed};

/// The models of the tables, in their order, and the folders of their records.
const MODELS: [(&str, &str); 3] =
    [("embedded", "embedded"), ("DeiT-Tiny", "deit-tiny"), ("DeiT-Tiny at 128 px", "deit-tiny-128px")];

/// The same of runs with heads on varied copies of the images, as is the default.
const VIEWS: [(&str, &str); 3] = [
    ("embedded", "embedded-views"),
    ("DeiT-Tiny", "deit-tiny-views"),
    ("DeiT-Tiny at 128 px", "deit-tiny-128px-views"),
];

/// The embedded model's, answered by five crops.
const CROPS: &str = "embedded-crops";

/// The same of runs with augmentation and 100 steps.
const AUGMENTED: [(&str, &str); 2] =
    [("embedded", "embedded-augmented"), ("DeiT-Tiny at 128 px", "deit-tiny-128px-augmented")];

/// Names of models and the folders of their records.
type Models = &'static [(&'static str, &'static str)];

/// Tables of accuracies: their document, the first cell of their heads, their models, and whether they have all methods.
const ACCURACIES: [(&str, &str, Models, bool); 4] = [
    ("README.md", "images per class", &VIEWS, false),
    ("docs/comparison/README.md", "images per class", &VIEWS, true),
    ("docs/comparison/README.md", "as they are, 40 steps", &MODELS, true),
    ("docs/comparison/README.md", "augmented, 100 steps", &AUGMENTED, true),
];

/// Rows of the documents' tables of shifts, the report's table and the column there.
const SHIFTS: [(&str, &str, &str); 6] = [
    ("test images as they are", "## Covariate shift", "clean"),
    ("noise", "## Covariate shift", "noise 2"),
    ("blur", "## Covariate shift", "blur 2"),
    ("contrast", "## Covariate shift", "contrast 2"),
    ("JPEG", "## Covariate shift", "jpeg 2"),
    ("unequal numbers per class, as many in all", "## Label shift", "uneven classes"),
];

/// How a report introduces its table of accuracies.
const ACCURACY: &str = "Mean test accuracy over tasks and seeds";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A table of a document: its head and its rows.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// The cells of a row by the head's names, without the first.
    fn row(&self, name: &str) -> Option<BTreeMap<&str, &str>> {
        let row = self.rows.iter().find(|row| row[0] == name)?;
        Some(self.head.iter().map(String::as_str).zip(row.iter().map(String::as_str)).skip(1).collect())
    }
}

/// All tables of a text, in order.
fn tables(text: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        let cells = line.strip_prefix('|').and_then(|line| line.strip_suffix('|'));
        let row: Option<Vec<String>> =
            cells.map(|cells| cells.split('|').map(|cell| cell.trim().into()).collect());
        match (row, tables.last_mut()) {
            (Some(row), Some(table)) if inside => table.rows.extend((row[0] != "---").then_some(row)),
            (Some(head), _) => tables.push(Table { head, rows: Vec::new() }),
            (None, _) => {}
        }
        inside = cells.is_some();
    }
    tables
}

/// The tables that follow a line which begins with `start`.
fn tables_after(report: &str, start: &str) -> Vec<Table> {
    let from = report.find(&format!("\n{start}")).unwrap_or_else(|| panic!("no line {start}"));
    tables(&report[from..])
}

/// A cell where nothing was run is empty in the documents.
fn shown(cell: &str) -> &str {
    if cell == "-" { "" } else { cell }
}

fn folders() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("docs/comparison")).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.is_dir()).collect()
}

fn assert_same(published: &Path, made: &Path) {
    let [published_text, made_text] =
        [published, made].map(|path| fs::read_to_string(path).unwrap_or_default());
    assert!(
        !made_text.is_empty() && published_text == made_text,
        "{} is not up to date",
        published.display()
    );
}

#[test]
fn the_comparison_is_of_what_ships() {
    let base = shipped::find(shipped::EMBEDDED).expect("a base model ships");
    let mut session = block_on(base.open(DeviceChoice::Cpu, &ModelOptions::default())).expect("opens");
    base.modules
        .iter()
        .for_each(|entry| session.add_module(base.module(&entry.name).expect("reads")).expect("fits"));
    let recorded = json(&root().join("docs/comparison/embedded/experiment.json"));
    // A change of the code that changes these makes saved tasks, results and kept features those of another model.
    assert_eq!(recorded["model_sha256"], hex(&block_on(session.model_digest()).expect("reads")));
    let modules = session.module_digests();
    let all = recorded["modules"].as_array().expect("modules");
    assert_eq!(all.len(), modules.len());
    all.iter()
        .zip(modules)
        .for_each(|(recorded, own)| assert_eq!(recorded["sha256"], hex(&own), "{recorded}"));
}

#[test]
fn reports_and_plots_are_what_their_records_give() {
    let folders = folders();
    assert_eq!(folders.len(), 2 * MODELS.len() + VIEWS.len() + AUGMENTED.len() + 1, "one of them is CROPS");
    for folder in folders {
        let out = tempfile::tempdir().expect("a folder");
        for file in ["experiment.json", "results.jsonl"] {
            fs::copy(folder.join(file), out.path().join(file)).expect(file);
        }
        succeed(&["experiment", "--report-only", "--out", &out.path().display().to_string()]);
        assert_same(&folder.join("report.md"), &out.path().join("report.md"));
        let plots = |dir: &Path| -> Vec<_> {
            let entries = fs::read_dir(dir.join("plots")).expect("plots");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(plots(&folder), plots(out.path()), "{}", folder.display());
        for plot in plots(&folder) {
            assert_same(&folder.join("plots").join(&plot), &out.path().join("plots").join(&plot));
        }
    }
}

/// A report's row of a method; the documents spell one name out.
fn report_row(report: &str, method: &str) -> BTreeMap<String, String> {
    let method = if method == "full fine-tuning" { "full" } else { method };
    let start = match method {
        "linear-probe" => ACCURACY,
        _ => "Difference from `linear-probe`, intervals over (task, seed)",
    };
    let made = tables_after(report, start).remove(0);
    let made = made.row(method).unwrap_or_else(|| panic!("no {method}"));
    // Columns of the documents are those of the reports without the word for images.
    let column = |name: &str| name.split(' ').next().unwrap_or(name).to_owned();
    made.into_iter().map(|(name, cell)| (column(name), shown(cell).to_owned())).collect()
}

#[test]
fn tables_of_accuracies_are_those_of_the_reports() {
    for (document, head, folders, all_methods) in ACCURACIES {
        let tables = tables(&read(document));
        let table = tables.iter().find(|table| table.head[0] == head).unwrap_or_else(|| panic!("no {head}"));
        // Only the first row of a model names it.
        let models: Vec<&[Vec<String>]> = table.rows.chunk_by(|_, row| row[0].is_empty()).collect();
        assert_eq!(models.len(), folders.len(), "{document}: {head}");
        for (rows, (name, folder)) in models.into_iter().zip(folders) {
            assert_eq!(rows[0][0], *name, "{document}: {head}");
            let report = read(&format!("docs/comparison/{folder}/report.md"));
            for row in rows {
                let cells = table.head.iter().zip(row).skip(2).filter(|(_, cell)| !cell.is_empty());
                let published: BTreeMap<String, String> =
                    cells.map(|(name, cell)| (name.clone(), cell.clone())).collect();
                // Models have columns of their own.
                let mut made = report_row(&report, &row[1]);
                made.retain(|_, cell| !cell.is_empty());
                assert_eq!(published, made, "{document}: {head}, {name} {}", row[1]);
            }
            let recorded = tables_after(&report, ACCURACY).remove(0).rows.len();
            assert!(!all_methods || rows.len() == recorded, "{document}: {head}, {name} lacks a method");
        }
    }
}

#[test]
fn the_table_of_differences_is_that_of_the_reports() {
    let tables = tables(&read("docs/comparison/README.md"));
    let table = tables.iter().find(|table| table.head[1] == "difference").expect("a table of differences");
    let models: Vec<&[Vec<String>]> = table.rows.chunk_by(|_, row| row[0].is_empty()).collect();
    assert_eq!(models.len(), MODELS.len());
    for (rows, (name, folder)) in models.into_iter().zip(MODELS) {
        assert_eq!(rows[0][0], name);
        let report = read(&format!("docs/comparison/{folder}/report.md"));
        for row in rows {
            let methods = row[1].replace("full fine-tuning", "full");
            let (first, second) = methods.split_once(" − ").expect("two methods");
            let start = format!("Difference from `{second}`, intervals over (task, seed)");
            let made = tables_after(&report, &start).remove(0);
            let made = made.rows.iter().find(|row| row[0] == first).unwrap_or_else(|| panic!("no {first}"));
            let made: Vec<&str> = made[1..].iter().map(|cell| shown(cell)).collect();
            assert_eq!(row[2..], made, "{name}: {methods}");
        }
    }
}

/// Of runs whose records are not published: modules trained at 224 px used at 128 px, and `learned-free` from 0.
const ELSEWHERE: [&str; 4] =
    ["+6.4 [+3.0, +9.8]", "+1.5 [+0.1, +2.9]", "+19.6 [+14.0, +25.2]", "-0.6 [-2.6, +1.3]"];

/// All signed numbers with an interval, as in "+2.6 [+1.0, +4.2]".
fn intervals(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (start, _) in text.match_indices(" [") {
        let number = text[..start].rsplit(|letter: char| letter.is_whitespace() || letter == '(').next();
        let bounds = text[start + 2..].split_once(']').map(|(bounds, _)| bounds);
        let (Some(number), Some((low, high))) = (number, bounds.and_then(|bounds| bounds.split_once(", ")))
        else {
            continue;
        };
        let is_signed = |text: &&str| text.starts_with(['+', '-']) && text.parse::<f64>().is_ok();
        if [number, low, high].iter().all(is_signed) {
            found.push(format!("{number} [{low}, {high}]"));
        }
    }
    found
}

/// Accuracies of the plain runs of a method at a number of shots.
fn accuracies(runs: &[Run], method: &str, shots: Shots) -> ByPair {
    let own =
        runs.iter().filter(|run| (run.method.name(), run.shots, run.draw) == (method, shots, Draw::Even));
    own.map(|run| ((run.task.clone(), run.seed), run.test_accuracy)).collect()
}

/// Tables of one folder's runs less another one's, which no report has: the first cell of their heads, both folders.
const BETWEEN: [(&str, &str, &str); 5] = [
    ("128 px − 224 px", "deit-tiny-128px", "deit-tiny"),
    ("embedded, varied − as they are", "embedded-views", "embedded"),
    ("DeiT-Tiny, varied − as they are", "deit-tiny-views", "deit-tiny"),
    ("at 128 px, varied − as they are", "deit-tiny-128px-views", "deit-tiny-128px"),
    ("embedded, five crops − the whole", CROPS, "embedded-views"),
];

/// The paired differences of some methods between two folders, by number of shots.
fn between(folders: [&str; 2], methods: &[&str]) -> BTreeMap<String, Vec<String>> {
    let [first, second] =
        folders.map(|folder| read_dir(&root().join("docs/comparison").join(folder)).expect("results").0);
    let columns = [1, 2, 5, 10, 20].map(Shots::PerClass).into_iter().chain([Shots::Full]);
    let difference = |method: &str, shots| {
        let differences = paired(&accuracies(&first, method, shots), &accuracies(&second, method, shots));
        let interval = Interval::clustered(&by_set(differences, &exhausted(&second, shots, Draw::Even)));
        interval.map_or(String::new(), |interval| points(Some(interval)))
    };
    let row = |method: &&str| {
        (method.to_string(), columns.clone().map(|shots| difference(method, shots)).collect())
    };
    methods.iter().map(row).collect()
}

/// The tables of [`BETWEEN`] as they are published, and as the records give them.
fn tables_between() -> Vec<[BTreeMap<String, Vec<String>>; 2]> {
    let all = tables(&read("docs/comparison/README.md").replace("\n  |", "\n|"));
    let one = |(head, first, second)| {
        let table = all.iter().find(|table| table.head[0] == head).unwrap_or_else(|| panic!("no {head}"));
        let published: BTreeMap<String, Vec<String>> =
            table.rows.iter().map(|row| (row[0].clone(), row[1..].to_vec())).collect();
        let methods: Vec<&str> = published.keys().map(String::as_str).collect();
        let made = between([first, second], &methods);
        [published, made]
    };
    BETWEEN.into_iter().map(one).collect()
}

#[test]
fn tables_between_folders_are_of_their_records() {
    for [published, made] in tables_between() {
        assert_eq!(published, made);
    }
}

#[test]
fn every_interval_in_the_documents_is_in_a_report() {
    let mut reports: String = folders()
        .iter()
        .map(|folder| fs::read_to_string(folder.join("report.md")).expect("a report"))
        .collect();
    tables_between()
        .into_iter()
        .flat_map(|[_, made]| made.into_values().flatten())
        .for_each(|difference| reports += &difference);
    for (document, fewest) in [("README.md", 65), ("docs/comparison/README.md", 700)] {
        let all = intervals(&read(document));
        assert!(all.len() >= fewest, "{document}: {}", all.len());
        for interval in all {
            let known = reports.contains(&interval) || ELSEWHERE.contains(&interval.as_str());
            assert!(known, "{document}: {interval} is in no report");
        }
    }
}

#[test]
fn tables_of_shifts_are_those_of_the_reports() {
    let document = read("docs/comparison/README.md");
    let published: Vec<Table> =
        tables(&document).into_iter().filter(|table| table.head[0] == "shift").collect();
    assert_eq!(published.len(), MODELS.len());
    for (table, (_, folder)) in published.iter().zip(MODELS) {
        let report = read(&format!("docs/comparison/{folder}-shifts/report.md"));
        assert_eq!(table.rows.len(), SHIFTS.len(), "{folder}");
        for (name, start, column) in SHIFTS {
            let of_report = tables_after(&report, start);
            // Under label shift accuracy and difference stand side by side.
            let (gains, gain) = match column {
                "uneven classes" => (&of_report[0], "uneven: against linear-probe"),
                _ => (&of_report[1], column),
            };
            let probe = of_report[0].row("linear-probe").expect("a probe")[column];
            let row = table.row(name).unwrap_or_else(|| panic!("{folder}: no {name}"));
            assert_eq!(row["linear-probe"], probe, "{folder}: {name}");
            for method in ["uniform", "uniform-scaled"] {
                assert_eq!(row[method], gains.row(method).expect(method)[gain], "{folder}: {name}, {method}");
            }
        }
    }
}

/// A module's card, and its accuracies before and after as the documents show them.
fn card(folder: &str, task: &str) -> (serde_json::Value, [String; 2]) {
    let card = json(&root().join("www/models").join(folder).join("modules").join(task).join("training.json"));
    let accuracies = [&card["probe_test_accuracy"], &card["module"]["test_accuracy"]];
    let shown = accuracies.map(|value| format!("{:.1}", 100.0 * value.as_f64().expect("an accuracy")));
    (card, shown)
}

#[test]
fn tables_of_modules_are_those_of_their_cards() {
    let tables = tables(&read("docs/models.md"));
    let tables: Vec<&Table> = tables.iter().filter(|table| table.head[0] == "task").collect();
    let [embedded, deit] = tables[..] else { panic!("two tables of modules") };
    assert_eq!((embedded.rows.len(), deit.rows.len()), (10, 10));
    for row in &embedded.rows {
        let (card, accuracies) = card("base", &row[0]);
        let classes = card["classes"].as_array().expect("classes").len();
        assert_eq!(row[1], card["source"], "{}", row[0]);
        assert_eq!(
            row[2..5],
            [classes.to_string(), card["num_train"].to_string(), card["num_test"].to_string()]
        );
        assert_eq!(row[5..], accuracies, "{}", row[0]);
    }
    for row in &deit.rows {
        let sizes = ["deit-tiny-patch16-224", "deit-tiny-patch16-224-128px"];
        let accuracies = sizes.map(|folder| card(folder, &row[0]).1).concat();
        assert_eq!(row[1..], accuracies, "{}", row[0]);
    }
}
