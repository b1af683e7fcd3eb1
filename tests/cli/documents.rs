//! Every command that README.md and docs/*.md show in a ```console block is run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The repository, or nothing where only the binary was brought (a virtual machine).
fn repository() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    root.join("README.md").exists().then(|| root.to_owned())
}

/// The lines after a prompt (`$ ` or `# `) in the console blocks of a document.
fn commands(document: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in document.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            inside = !inside && language.trim() == "console";
        } else if inside && let Some(command) = line.strip_prefix("$ ").or(line.strip_prefix("# "))
        {
            commands.push(command.trim().to_owned());
        }
    }
    commands
}

/// Whether a command is ours to run: the rest (cargo, apt, …) is run by those who test the build.
fn is_ours(command: &str) -> bool {
    let plain = command.trim_start_matches("sudo ");
    plain.starts_with("pktjourney ") && !plain.contains("eth0") && !plain.contains("ssh ")
}

#[test]
fn the_documents_commands_work() {
    let Some(root) = repository() else { return };
    let mut documents = vec![root.join("README.md")];
    if let Ok(entries) = fs::read_dir(root.join("docs")) {
        documents.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    documents.sort();
    let directory = tempfile::tempdir().expect("a directory");
    let binary = PathBuf::from(crate::binary());
    let path = std::env::var("PATH").unwrap_or_default();
    let folder = binary.parent().expect("a folder").display().to_string();
    for document in documents
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
    {
        let text = fs::read_to_string(document).expect("read a document");
        for command in commands(&text).iter().filter(|command| is_ours(command)) {
            let plain = command.replace("sudo ", "");
            // Those that would go on for ever get the Ctrl-C that a reader would give them.
            let bounded = format!(
                "timeout --foreground --preserve-status -s INT 20 sh -c '{}'",
                plain.replace('\'', r"'\''")
            );
            let limited = if plain.contains(" demo") || plain.contains("--duration") {
                &plain
            } else {
                &bounded
            };
            let output = Command::new("sh")
                .args(["-c", limited])
                .current_dir(directory.path())
                .env("PATH", format!("{folder}:{path}"))
                .stdin(Stdio::null())
                .output()
                .expect("start a shell");
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{}: `{command}`: {}: {complaints}",
                document.display(),
                output.status
            );
            assert!(
                !complaints.contains("panicked"),
                "`{command}`: {complaints}"
            );
        }
    }
}

#[test]
fn console_blocks_are_found() {
    let text = "```console\n$ pktjourney check\noutput\n# pktjourney demo\n```\n```sh\n$ no\n```\n";
    assert_eq!(commands(text), ["pktjourney check", "pktjourney demo"]);
    assert!(is_ours("sudo pktjourney check") && !is_ours("cargo build"));
}
