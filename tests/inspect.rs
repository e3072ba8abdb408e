//! `cygnet inspect` as a process: what it prints, and how it refuses.

use std::process::{Command, Output};

/// Inspects an example, with its output in pipes.
fn inspect(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cygnet"))
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
fn wrong_usage_is_refused_with_a_remedy() {
    for (arguments, message, remedy) in [
        ("examples/digits.cyg digit", "there is no recipe or model `digit`", "`digits`?"),
        ("examples/digits.cyg --stage asm --format dot", "`asm` is not a graph", "text or json"),
        ("examples/digits.cyg --why 99999", "has no node 99999", "--stage optimized lists them"),
        ("examples/digits.cyg --why 1 --stage clif", "not the stage `clif`", "leave out --stage"),
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
