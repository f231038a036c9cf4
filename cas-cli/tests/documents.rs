//! What the documents tell people to type is what the binary understands.

use std::path::Path;
use std::process::Command;

/// Every `cas …` that stands in a line of its own, or between backquotes in a table.
fn commands(text: &str) -> Vec<String> {
    let own_lines = text.lines().map(|line| line.trim_start().trim_start_matches("$ "));
    let quoted = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let found = own_lines.chain(quoted).flat_map(|line| line.split(" && "));
    found.filter(|line| line.starts_with("cas ") && !line.contains("COMMAND")).map(str::to_owned).collect()
}

/// What `CARD` stands for.
const CARD: &str = "age1w3924jzymxty08qzlmpqz0252yplxwft6lm75pzvacs3s4umgpkqvn2san/\
    1b6b9813849a55dabeb6e56377b98900030b9d32dec74cfd9ca0e6494c45f613";

/// Words as a shell would cut them, up to a comment.
fn words(line: &str) -> Vec<&str> {
    let words = line.split_whitespace().skip(1).take_while(|word| !word.starts_with('#')).filter(|word| *word != "…");
    words.map(|word| if word == "CARD" { CARD } else { word }).collect()
}

#[test]
fn every_command_in_the_documents_exists() {
    for document in ["../README.md", "deploy/RUNNING.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        let found = commands(&std::fs::read_to_string(&path).unwrap());
        assert!(found.len() >= 10, "{document} names {} commands", found.len());
        for line in found {
            // Options are looked at in order: a wrong one is refused before help is given.
            let said = Command::new(env!("CARGO_BIN_EXE_cas")).args(words(&line)).arg("--help").output().unwrap();
            assert!(said.status.success(), "{document}: {line}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }
}
