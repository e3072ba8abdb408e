//! Searching settings: `cygnet tune`, and the search behind it.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

use cygnet::language::package::Package;
use cygnet::session::SessionOptions;
use cygnet::tune::{Event, Findings, Goal, Judge, Outcome, Search, Settings};
use serde_json::Value;

use crate::command;
use crate::elaborate::package;

const PROGRAM: &str = "
model curve(x: f32[n, 2], hidden: dim = 4) -> f32[n] {
    let y = x |> linear(hidden) |> tanh |> linear(1)
    y as [n, 1] -> [n]
}

train fit(lr: float = 0.1, hidden: dim = 4, kind: str = \"mse\") {
    data x: f32[n, 2], y: f32[n] from csv(\"points.csv\", target: \"y\", test: 20)
    let found = curve(x, hidden: hidden)
    let error = if kind == \"mse\" { mse(found, y) } else { l1(found, y) }
    minimize error using sgd(lr: lr)
    batch 8
    epochs 3
    report rmse(found, y), r2(found, y)
}
";

/// A folder with the program and 100 points of a saddle.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut table = "a,b,y\n".to_owned();
    for index in 0..100 {
        let (a, b) = (f64::from(index % 10) / 5.0 - 0.9, f64::from(index / 10) / 5.0 - 0.9);
        writeln!(table, "{a},{b},{}", a * b).expect("text");
    }
    std::fs::write(folder.path().join("points.csv"), table).expect("a file");
    std::fs::write(folder.path().join("fit.cyg"), PROGRAM).expect("a file");
    folder
}

fn rates(rates: &[&str]) -> Vec<Settings> {
    rates.iter().map(|rate| Settings::from([("lr".to_owned(), (*rate).to_owned())])).collect()
}

fn search<'a>(
    package: &'a Package,
    base: &Path,
    trials: Vec<Settings>,
    threads: usize,
) -> Search<'a> {
    Search {
        package,
        recipe: "fit",
        base: base.to_owned(),
        trials,
        settings: Settings::new(),
        seed: 3,
        judge: Judge::Share(0.25),
        metric: None,
        goal: None,
        session: SessionOptions { threads, ..SessionOptions::default() },
    }
}

/// The trials without their times.
fn outcomes(found: &Findings) -> Vec<(usize, Settings, Outcome)> {
    let trials = found.trials.iter();
    trials.map(|trial| (trial.trial, trial.settings.clone(), trial.outcome.clone())).collect()
}

#[test]
fn trials_side_by_side_give_what_they_give_one_at_a_time() {
    let (folder, package) = (folder(), package(PROGRAM));
    let trials = rates(&["0.3", "0.1", "0.03", "0.01", "0.003"]);
    let run = |threads: usize, out: &str| {
        let search = search(&package, folder.path(), trials.clone(), threads);
        let mut side_by_side = 0;
        let found = search.run(&folder.path().join(out), |event| {
            if let Event::Started { side_by_side: count, .. } = event {
                side_by_side = *count;
            }
        });
        (found.expect("a search"), side_by_side)
    };
    let (one, threads) = run(1, "one");
    assert_eq!(threads, 1);
    let (four, threads) = run(4, "four");
    assert_eq!(threads, 4);
    assert_eq!(outcomes(&one), outcomes(&four));
    // A smaller rate cannot move far in three epochs.
    let order: Vec<usize> = one.trials.iter().map(|trial| trial.trial).collect();
    assert_eq!(order.last(), Some(&5), "{order:?}");
    assert_eq!((one.criterion.metric.as_str(), one.criterion.goal), ("rmse", Goal::Minimize));
    // The step, and an evaluation for a whole batch and for the four samples that remain.
    assert_eq!((one.compiled, four.compiled), (3, 3));
}

#[test]
fn an_interrupted_search_goes_on_where_it_was() {
    let (folder, package) = (folder(), package(PROGRAM));
    let all = rates(&["0.3", "0.1", "0.03"]);
    let out = folder.path().join("tuned");
    let part = search(&package, folder.path(), all[1..2].to_vec(), 1);
    part.run(&out, |_| {}).expect("a search");
    let whole = search(&package, folder.path(), all, 1);
    let mut started = None;
    let mut run = Vec::new();
    let resumed = whole.run(&out, |event| match event {
        Event::Started { trials, known, .. } => started = Some((*trials, *known)),
        Event::Ended(trial) => run.push(trial.trial),
    });
    assert_eq!(started, Some((3, 1)));
    assert_eq!(run, [1, 3]);
    let anew = whole.run(&folder.path().join("anew"), |_| {});
    assert_eq!(outcomes(&resumed.expect("a search")), outcomes(&anew.expect("a search")));

    let mut other = search(&package, folder.path(), rates(&["0.3"]), 1);
    other.judge = Judge::Share(0.5);
    let error = other.run(&out, |_| {}).expect_err("another search");
    assert!(error.to_string().contains("belongs to a search with another --validate"), "{error}");
}

#[test]
fn trials_that_fail_do_not_end_the_search() {
    let (folder, package) = (folder(), package(PROGRAM));
    let mut trials = rates(&["1e30", "0.1"]);
    trials.push(Settings::from([("batch".to_owned(), "1000".to_owned())]));
    let search = search(&package, folder.path(), trials, 2);
    let found = search.run(&folder.path().join("out"), |_| {}).expect("a search");
    let shown: Vec<(usize, String)> = found
        .trials
        .iter()
        .map(|trial| match &trial.outcome {
            Outcome::Done { .. } => (trial.trial, "done".to_owned()),
            Outcome::Failed { reason } => (trial.trial, reason.clone()),
        })
        .collect();
    let reason = "the loss is no longer finite: step 2 of epoch 1 (step 2 in all)".to_owned();
    let size = "a batch takes 1000 samples, but there are 60".to_owned();
    assert_eq!(shown, [(2, "done".to_owned()), (1, reason), (3, size)]);
    assert_eq!(found.best().map(|best| best.trial), Some(2));
}

#[test]
fn folds_judge_by_their_mean() {
    let (folder, package) = (folder(), package(PROGRAM));
    let searched = |judge: Judge, out: &str, rates: &[&str]| {
        let mut search = search(&package, folder.path(), self::rates(rates), 2);
        search.judge = judge;
        let mut ended = 0;
        let found = search.run(&folder.path().join(out), |event| {
            ended += usize::from(matches!(event, Event::Ended(_)));
        });
        (found.expect("a search"), ended)
    };
    // 26 samples in a fold: three batches, and a rest of two.
    let (found, ended) = searched(Judge::Folds(3), "folds", &["0.3", "0.03"]);
    assert_eq!(ended, 2);
    let (one, _) = searched(Judge::Share(0.325), "one", &["0.3"]);
    assert_eq!((found.compiled, one.compiled), (3, 3), "folds compile nothing");
    let first = found.trials.iter().find(|trial| trial.trial == 1).expect("a trial");
    let Outcome::Done { score, spread, folds, validation, .. } = &first.outcome else {
        panic!("it has failed")
    };
    let mean = folds.iter().sum::<f64>() / 3.0;
    let deviation = folds.iter().map(|fold| (fold - mean).powi(2)).sum::<f64>() / 2.0;
    assert_eq!(folds.len(), 3);
    assert!(folds[0] != folds[1] && folds[1] != folds[2], "{folds:?}");
    assert!((score - mean).abs() < 1e-12 && validation["rmse"] == *score);
    assert!((spread.expect("a spread") - deviation.sqrt()).abs() < 1e-12);
    // The same again from the record, and with a trial more.
    let (again, ended) = searched(Judge::Folds(3), "folds", &["0.3", "0.03", "0.1"]);
    assert_eq!(ended, 1);
    let of_first = again.trials.iter().find(|trial| trial.trial == 1);
    assert_eq!(of_first.map(|trial| &trial.outcome), Some(&first.outcome));
    let table = std::fs::read_to_string(folder.path().join("folds/trials.csv")).expect("a table");
    assert!(table.starts_with("trial,status,score,spread,lr,train_loss"), "{table}");
}

#[test]
fn the_command_shows_the_spread_of_folds() {
    let folder = folder();
    let arguments = ["tune", "fit.cyg", "--grid", "lr=0.3,1e30", "--folds", "4"];
    let output = cygnet(folder.path(), &[&arguments[..], &["--cpu", "portable"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout));
}

#[test]
fn more_folds_than_samples_are_refused() {
    let folder = folder();
    for folds in ["101", "1000000000000000"] {
        let output =
            cygnet(folder.path(), &["tune", "fit.cyg", "--grid", "lr=0.3", "--folds", folds]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(&format!("into {folds} folds")));
    }
}

/// The command, in a folder with the program.
fn cygnet(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command::cygnet();
    command.current_dir(folder).args(arguments).output().expect("the command runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The last line of a command's output, which is JSON.
fn last_object(output: &Output) -> Value {
    let lines = text(&output.stdout);
    let last = lines.lines().last().unwrap_or_else(|| panic!("{}", text(&output.stderr)));
    serde_json::from_str(last).expect("JSON")
}

#[test]
fn the_command_prints_a_table_and_how_to_repeat_the_best_trial() {
    let folder = folder();
    let arguments = ["tune", "fit.cyg", "--grid", "lr=0.1,0.3,1e30", "--grid", "hidden=2,8"];
    let options = ["--set", "epochs=8", "--cpu", "portable", "--threads", "2"];
    let output = cygnet(folder.path(), &[&arguments[..], &options[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    insta::assert_snapshot!(text(&output.stdout));
    let files = |name: &str| folder.path().join("runs/fit-tune").join(name).exists();
    assert!(files("trials.csv") && files("trials.jsonl"));
}

#[test]
fn the_command_of_the_best_trial_gives_the_same_number() {
    let folder = folder();
    let searched =
        ["--random", "lr=1e-3..1:log", "--random", "hidden=2..9", "--random", "batch=4,8"];
    let arguments =
        ["tune", "fit.cyg", "--trials", "5", "--seed", "11", "--metric", "r2", "--json"];
    let output = cygnet(folder.path(), &[&arguments[..], &searched[..]].concat());
    let found = last_object(&output);
    assert_eq!((&found["trials"], &found["goal"]), (&5.into(), &"maximize".into()));
    let command = found["command"].as_str().expect("a command");
    let mut words: Vec<&str> = command.split_whitespace().skip(1).collect();
    words.push("--json");
    let trained = last_object(&cygnet(folder.path(), &words));
    assert_eq!(trained["metrics"]["validation"]["r2"], found["best"]["score"], "{command}");
    assert!(trained["metrics"].get("test").is_none());
    // The same search again runs nothing, and says the same.
    let again = cygnet(folder.path(), &[&arguments[..], &searched[..]].concat());
    assert_eq!(text(&again.stdout).lines().count(), 1);
    assert_eq!(last_object(&again)["best"], found["best"]);
}

#[test]
fn wrong_searches_are_refused() {
    let folder = folder();
    let refused = |arguments: &[&str], code: i32, message: &str| {
        let output = cygnet(folder.path(), &[&["tune", "fit.cyg"], arguments].concat());
        let error = text(&output.stderr);
        assert!(error.contains(message), "{error}");
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert!(output.stdout.is_empty());
    };
    refused(&[], 2, "nothing is searched");
    refused(&["--grid", "lr"], 2, "write it as NAME=VALUE");
    refused(&["--grid", "rl=1,2"], 2, "did you mean `lr`?");
    refused(&["--grid", "lr=1..2"], 2, "search with --random");
    refused(&["--random", "hidden=1.5..2"], 2, "is not one of whole numbers");
    refused(&["--grid", "lr=1", "--random", "hidden=1..2"], 2, "cannot be used with");
    refused(&["--grid", "lr=1", "--set", "lr=2"], 2, "`lr` is given twice");
    refused(&["--grid", "lr=1,2", "--validate", "2"], 2, "a number between 0 and 1");
    refused(&["--grid", "lr=fast"], 2, "which is not a number");
    refused(&["--grid", "lr=1", "--metric", "f1"], 1, "nothing is reported as `f1`");
    refused(&["--grid", "lr=1", "--folds", "1"], 2, "--folds");
    refused(&["--grid", "lr=1", "--folds", "3", "--validate", "0.2"], 2, "cannot be used with");
    refused(&["--grid", "lr=1", "--folds", "81"], 1, "80 samples cannot be cut into 81 folds");
    refused(&["--grid", "lr=1", "--validate", "0.001"], 1, "option `validate`: of 80 samples 0");
}
