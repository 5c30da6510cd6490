//! Every input that the fuzzers have found worth keeping still passes.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use netpol_fuzz::TARGETS;

/// Runs `target` on each file of `folder`; how many there were.
fn replay(target: fn(&[u8]), folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let data = fs::read(&path).with_context(|| path.display().to_string())?;
        // Captured with the test's output: a panic is the last one named.
        println!("{}", path.display());
        target(&data);
        count += 1;
    }
    Ok(count)
}

#[test]
fn corpus_and_regressions_pass() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (name, target) in TARGETS {
        let corpus = replay(*target, &root.join("corpus").join(name))?;
        ensure!(corpus > 20, "{name}: a corpus of {corpus} inputs covers little");
        let regressions = root.join("regressions").join(name);
        if regressions.exists() {
            replay(*target, &regressions)?;
        }
    }
    Ok(())
}
