//! `cygnet inspect` as a process: what it prints, and how it refuses.

use std::process::Output;

use crate::command;

/// Inspects an example, with its output in pipes.
fn inspect(arguments: &str) -> Output {
    command::cygnet()
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .arg("inspect")
        .args(arguments.split(' '))
        .output()
        .unwrap()
}

fn printed(arguments: &str) -> String {
    let output = inspect(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains('\x1b'), "{arguments}: no colours in pipes");
    text
}

#[test]
fn every_stage_of_a_recipe_in_every_format() {
    for stage in ["source", "graph", "gradient", "optimized", "kernels", "memory", "clif", "asm"] {
        let text = printed(&format!("examples/sine.cyg --stage {stage}"));
        assert!(text.lines().count() > 3, "{stage}: {text}");
        let json = printed(&format!("examples/sine.cyg --stage {stage} --format json"));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["stage"], stage);
        if ["graph", "gradient", "optimized", "kernels"].contains(&stage) {
            let dot = printed(&format!("examples/sine.cyg --stage {stage} --format dot"));
            assert!(dot.starts_with("digraph {") && dot.ends_with("}\n"), "{dot}");
        }
    }
}

#[test]
fn a_model_of_the_name_of_a_recipe() {
    let text = printed("examples/digits.cyg digits --model --stage graph --set n=3");
    assert!(text.contains("input image: f32[3, 8, 8]"), "{text}");
    assert!(text.contains("output output = "), "{text}");
}

#[test]
fn a_page_leads_from_source_lines_to_kernels() {
    let page = printed("examples/sine.cyg --format html");
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    // It loads nothing.
    assert!(!page.contains("src=") && !page.contains("href="), "{page}");
    let data = page.split("id=\"data\">").nth(1).and_then(|rest| rest.split("</script>").next());
    let data: serde_json::Value = serde_json::from_str(data.unwrap()).unwrap();
    let files = data["files"].as_array().unwrap();
    assert_eq!(files[0]["name"], "examples/sine.cyg");
    let text = |file: &serde_json::Value, line: &serde_json::Value| {
        let file = files.iter().find(|known| known["name"] == *file).unwrap();
        let line = line.as_u64().unwrap() as usize;
        file["text"].as_str().unwrap().lines().nth(line - 1).unwrap().trim().to_owned()
    };
    let kernels = data["kernels"].as_array().unwrap();
    assert!(kernels.len() > 3);
    let mut lines = 0;
    for kernel in kernels {
        for line in kernel["lines"].as_array().unwrap() {
            assert_eq!(text(&line["file"], &line["line"]), line["text"].as_str().unwrap());
            lines += 1;
        }
        let nodes = kernel["nodes"].as_array().unwrap();
        let operations = kernel["operations"].as_array().unwrap();
        assert_eq!(nodes.len(), operations.len());
        for (node, operation) in nodes.iter().zip(operations) {
            assert!(operation.as_str().unwrap().starts_with(&format!("%{node} = ")));
        }
    }
    assert!(lines > 3);
}

#[test]
fn dims_of_recipes_can_be_set_where_data_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fit.cyg");
    let text = "model line(x: f32[n, d]) = x |> linear(1)
train fit() {
    data x: f32[n, d] from csv(\"missing.csv\")
    minimize mean(line(x)) using adam
    batch 4
    epochs 1
}";
    std::fs::write(&file, text).unwrap();
    let shown = |settings: &str| inspect(&format!("{} --stage graph{settings}", file.display()));
    let graph = shown(" --set d=7");
    assert!(String::from_utf8_lossy(&graph.stdout).contains("input x: f32[4, 7]"));
    let missing = shown("");
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("missing.csv"));
}

#[test]
fn wrong_usage_is_refused_with_a_remedy() {
    for (arguments, message, remedy) in [
        ("examples/digits.cyg digit", "there is no recipe or model `digit`", "`digits`?"),
        ("examples/digits.cyg --stage asm --format dot", "`asm` is not a graph", "text or json"),
        ("examples/digits.cyg --why 99999", "has no node 99999", "--stage optimized lists them"),
        ("examples/digits.cyg --why 1 --stage clif", "not the stage `clif`", "leave out --stage"),
        ("examples/digits.cyg --stage asm --format html", "together", "leave out --stage"),
        ("examples/digits.cyg digits --model", "needs `n` to be compiled", "--set n="),
        ("examples/digits.cyg digits --model --set n=two", "cannot be `two`", "--set n=64"),
        ("examples/digits.cyg digits --model --set m=2", "no parameter `m`", "it has"),
        ("examples/digits.cyg --threads 2", "unexpected argument '--threads'", "--help"),
        ("examples/digits.cyg --stage machine", "machine", "possible values: source"),
        (
            "examples/digits.cyg digits --model --stage gradient --set n=2",
            "has no gradient stage",
            "name a recipe",
        ),
    ] {
        let output = inspect(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {errors}");
        assert!(errors.contains(message) && errors.contains(remedy), "{arguments}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments}");
    }
}
