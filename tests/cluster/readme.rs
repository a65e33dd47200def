//! The README's commands, as a stranger would type them.

use std::process::Command;

use crate::environment_or_skip;
use crate::support::repository;

#[test]
fn the_commands_of_the_readme_work_in_their_order() {
    environment_or_skip!();
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "{} blocks", blocks.len());
    let second = blocks.iter().position(|block| block.contains("recordings init")).expect("a second tenant");
    let commands = blocks[second].lines().count();
    assert!(commands <= 10, "on-boarding takes {commands} commands");
    let timed = |(number, block): (usize, &&str)| match number == second {
        true => format!("SECONDS=0\n{block}echo on-boarded in ${{SECONDS}} s\n"),
        false => (*block).to_owned(),
    };
    let script = format!("set -eux\n{}", blocks.iter().enumerate().map(timed).collect::<String>());
    let done = Command::new("timeout")
        .args(["300", "bash", "-c", &script])
        .current_dir(repository())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{shown}");
    assert!(shown.contains("calls/") && shown.contains("call-0001.json"), "{shown}");
    assert!(shown.contains("1 recording (0.0 MB) uploaded and verified in"), "by hand: {shown}");
    let took = shown.lines().find(|line| line.starts_with("on-boarded in")).expect("it is said");
    println!("a second tenant, with {commands} commands: {took}");
}

#[test]
fn every_make_target_that_the_readme_names_exists() {
    let read = |file: &str| std::fs::read_to_string(repository().join(file)).unwrap();
    let (readme, makefile) = (read("README.md"), read("Makefile"));
    let word =
        |text: &str| text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>();
    for target in readme.split("make ").skip(1).map(word).filter(|word| !word.is_empty()) {
        assert!(makefile.contains(&format!("\n{target}: ##")), "make {target}");
    }
}
