//! The names in a 64-bit little-endian ELF file: as much of the format as checking the kernel object takes.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// `sh_type` of a symbol table.
const SHT_SYMTAB: u32 = 2;
/// Bytes of an `Elf64_Shdr`.
const SECTION_HEADER: usize = 64;
/// Bytes of an `Elf64_Sym`.
const SYMBOL: usize = 24;

/// Section and symbol names of one object.
#[derive(Debug)]
pub(super) struct Elf {
    sections: Vec<String>,
    symbols: Vec<String>,
}

struct Section {
    name: usize,
    kind: u32,
    contents: Range<usize>,
    link: usize,
}

impl Elf {
    /// # Errors
    /// If it is another format, or an offset points outside the file.
    pub(super) fn parse(file: &[u8]) -> Result<Self> {
        ensure!(file.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
        let table = number(file, 0x28, 8)?;
        let count = number(file, 0x3c, 2)?;
        let names_index = number(file, 0x3e, 2)?;
        let sections: Vec<Section> =
            (0..count).map(|i| section(file, table + i * SECTION_HEADER)).collect::<Result<_>>()?;
        let names = sections.get(names_index).context("no section of section names")?;
        let mut symbols = Vec::new();
        for table in sections.iter().filter(|section| section.kind == SHT_SYMTAB) {
            let strings = sections.get(table.link).context("symbol table without names")?;
            for symbol in table.contents.clone().step_by(SYMBOL) {
                symbols.push(text(file, strings.contents.start + number(file, symbol, 4)?)?);
            }
        }
        let sections = sections
            .iter()
            .map(|section| text(file, names.contents.start + section.name))
            .collect::<Result<_>>()?;
        Ok(Self { sections, symbols })
    }

    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(String::as_str)
    }

    pub(super) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.symbols.iter().map(String::as_str)
    }
}

fn section(file: &[u8], at: usize) -> Result<Section> {
    let start = number(file, at + 24, 8)?;
    Ok(Section {
        name: number(file, at, 4)?,
        kind: u32::try_from(number(file, at + 4, 4)?)?,
        contents: start..start + number(file, at + 32, 8)?,
        link: number(file, at + 40, 4)?,
    })
}

fn number(file: &[u8], at: usize, width: usize) -> Result<usize> {
    let bytes = file.get(at..at + width).with_context(|| format!("truncated at byte {at}"))?;
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(bytes);
    Ok(usize::try_from(u64::from_le_bytes(wide))?)
}

fn text(file: &[u8], at: usize) -> Result<String> {
    let bytes = file.get(at..).with_context(|| format!("truncated at byte {at}"))?;
    let end = bytes.iter().position(|&byte| byte == 0).context("a name without an end")?;
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_our_own_program_are_found() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&program).unwrap();
        assert!(elf.sections().any(|name| name == ".text"));
        assert!(elf.symbols().any(|name| name == "main"));
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(Elf::parse(&program[..200]).is_err());
    }

    #[test]
    fn another_format_is_an_error() {
        assert!(Elf::parse(b"#!/bin/sh\n").is_err());
    }
}
