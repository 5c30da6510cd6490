//! First process of a virtual machine (`cargo xtask vm`): loads and attaches the programs on the kernel it finds itself on,
//! and runs the tests it was packed with. What it prints is read by `xtask/src/vm/report.rs`.

mod attach;
mod sockets;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use netpol_agent::dataplane::kernel::{LoadOptions, Object, Sizes};
use netpol_tests::packet::NO_INGRESS;
use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, init_module, reboot, uname},
};

/// A verifier's log can be megabytes long; its end says what is wrong.
const CAUSE_CHARS: usize = 4_000;

fn main() -> Result<()> {
    ensure!(std::process::id() == 1, "this is the first process of a virtual machine: use `cargo xtask vm`");
    let failures = match everything() {
        Ok(failures) => failures,
        Err(error) => {
            println!("{error:#}");
            1
        }
    };
    println!("VMRESULT {} rc={}", uname().release().to_string_lossy(), i32::from(failures > 0));
    reboot(RebootCommand::Restart).context("cannot end the virtual machine")
}

/// How many tests failed.
fn everything() -> Result<u32> {
    mount_all()?;
    load_modules(Path::new("/modules"))?;
    ip("link set lo up")?;
    load_programs()?;
    println!("VMATTACH {:?}", attach::attach()?);
    sorted(Path::new("/tests"))?.iter().map(|test| run_test(test)).sum()
}

fn mount_all() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
        ("bpf", "/sys/fs/bpf"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {place}"))?;
    }
    fs::create_dir("/run/netns").context("cannot create /run/netns")
}

/// The file names begin with their place in the order.
fn load_modules(folder: &Path) -> Result<()> {
    for file in sorted(folder)? {
        let image = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        init_module(&image, c"").with_context(|| format!("cannot load {}", file.display()))?;
    }
    Ok(())
}

fn load_programs() -> Result<()> {
    let mut object =
        Object::load(&LoadOptions { pin_dir: None, sizes: Sizes::small() }).map_err(shortened)?;
    object.load_socket_programs().map_err(shortened)?;
    object.load_wire_program().map_err(shortened)?;
    for (name, instructions) in object.verified_instructions() {
        let count = instructions.map_or_else(|| "-".to_owned(), |count| count.to_string());
        println!("VMPROGRAM {name} {count}");
    }
    Ok(())
}

/// Runs a test program of this workspace and repeats its summary: passed, failed, and those that this kernel cannot run.
fn run_test(program: &Path) -> Result<u32> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    // One at a time: emulated, they would only slow each other down, and the log stays in order.
    let output = Command::new(program)
        .args(["--test-threads=1", "--nocapture"])
        .env("PATH", "/bin")
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}{complained}");
    let passed = count(&said, "passed").with_context(|| format!("{name} has no summary"))?;
    let failed = count(&said, "failed").with_context(|| format!("{name} has no summary"))?;
    ensure!(
        output.status.success() == (failed == 0),
        "{name} says {failed} failed and ends with {}",
        output.status
    );
    let impossible = panics(&complained).filter(|panic| panic.contains(NO_INGRESS)).count();
    let impossible = u32::try_from(impossible).context("too many tests")?;
    let failed = failed.checked_sub(impossible).context("more tests that cannot run than failed ones")?;
    println!("VMTEST {name} {passed} {failed} {impossible}");
    Ok(failed)
}

/// From `test result: ok. 3 passed; 0 failed; …`.
fn count(said: &str, what: &str) -> Option<u32> {
    let summary = said.lines().find(|line| line.starts_with("test result: "))?;
    let words: Vec<&str> = summary.split([' ', ';']).collect();
    words.windows(2).find(|pair| pair[1] == what)?[0].parse().ok()
}

/// What each failed test said: from one `thread 'NAME' … panicked at` to the next.
fn panics(complained: &str) -> impl Iterator<Item = &str> {
    complained.split("\nthread '").filter(|panic| panic.contains("panicked at"))
}

fn ip(line: &str) -> Result<()> {
    let output = Command::new("/bin/ip").args(line.split(' ')).output().context("cannot run ip")?;
    ensure!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let cannot_read = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(cannot_read)?;
    let mut files =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>().with_context(cannot_read)?;
    files.sort();
    Ok(files)
}

/// The error with its causes, each cut to its end.
fn shortened(error: impl Error) -> anyhow::Error {
    let mut texts = Vec::new();
    let mut next: Option<&dyn Error> = Some(&error);
    while let Some(cause) = next {
        let text = cause.to_string();
        let skip = text.chars().count().saturating_sub(CAUSE_CHARS);
        texts.push(text.chars().skip(skip).collect::<String>());
        next = cause.source();
    }
    anyhow::Error::msg(texts.join(": "))
}
