//! A 64-bit little-endian ELF file: as much of the format as checking the kernel object takes.

use std::ops::Range;

use anyhow::{Context, Result, ensure};

/// `sh_type` of a symbol table.
const SHT_SYMTAB: u32 = 2;
/// `sh_type` of relocations without addends.
const SHT_REL: u32 = 9;
/// `sh_flags`: the section holds instructions.
const SHF_EXECINSTR: usize = 4;
/// Low four bits of `st_info`: a function.
const STT_FUNC: u8 = 2;
/// Bytes of an `Elf64_Shdr`.
pub(super) const SECTION_HEADER: usize = 64;
/// Bytes of an `Elf64_Sym`.
const SYMBOL: usize = 24;
/// Bytes of an `Elf64_Rel`.
const RELOCATION: usize = 16;

/// Sections, symbols and relocations of one object.
#[derive(Debug)]
pub(crate) struct Elf<'a> {
    file: &'a [u8],
    sections: Vec<Section>,
    symbols: Vec<Symbol>,
}

#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(super) kind: u32,
    flags: usize,
    /// Where in the file they are.
    pub(super) contents: Range<usize>,
    link: usize,
    info: usize,
}

#[derive(Debug)]
pub(crate) struct Symbol {
    pub(crate) name: String,
    /// Index of the section that it is in.
    pub(crate) section: usize,
    /// Bytes after the start of that section.
    pub(crate) value: usize,
    /// In bytes.
    pub(crate) size: usize,
    pub(crate) is_function: bool,
}

/// A place in a section that takes the address of a symbol.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Relocation {
    /// Bytes after the start of the section.
    pub(crate) at: usize,
    /// Index into [`Elf::symbols`].
    pub(crate) symbol: usize,
}

impl<'a> Elf<'a> {
    /// # Errors
    /// If it is another format, or an offset points outside the file.
    pub(crate) fn parse(file: &'a [u8]) -> Result<Self> {
        ensure!(file.starts_with(b"\x7fELF\x02\x01"), "not a 64-bit little-endian ELF file");
        let table = number(file, 0x28, 8)?;
        let count = number(file, 0x3c, 2)?;
        let names = number(file, 0x3e, 2)?;
        ensure!(names < count, "no section of section names");
        let names = number(file, table + names * SECTION_HEADER + 24, 8)?;
        let sections: Vec<Section> =
            (0..count).map(|i| section(file, table + i * SECTION_HEADER, names)).collect::<Result<_>>()?;
        let mut symbols = Vec::new();
        for table in sections.iter().filter(|section| section.kind == SHT_SYMTAB) {
            let strings = sections.get(table.link).context("symbol table without names")?.contents.start;
            for at in table.contents.clone().step_by(SYMBOL) {
                symbols.push(symbol(file, at, strings)?);
            }
        }
        Ok(Self { file, sections, symbols })
    }

    pub(crate) fn sections(&self) -> &[Section] {
        &self.sections
    }

    pub(crate) fn symbols(&self) -> &[Symbol] {
        &self.symbols
    }

    /// Index and bytes of each section that holds instructions.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let file = self.file;
        self.sections
            .iter()
            .enumerate()
            .filter(|(_, section)| section.flags & SHF_EXECINSTR != 0)
            .map(move |(index, section)| (index, file.get(section.contents.clone()).unwrap_or_default()))
    }

    /// Relocations of the section with index `section`.
    ///
    /// # Errors
    /// If they point outside the file.
    pub(crate) fn relocations(&self, section: usize) -> Result<Vec<Relocation>> {
        let mut found = Vec::new();
        for table in self.sections.iter().filter(|table| table.kind == SHT_REL && table.info == section) {
            for at in table.contents.clone().step_by(RELOCATION) {
                let symbol = number(self.file, at + 12, 4)?;
                found.push(Relocation { at: number(self.file, at, 8)?, symbol });
            }
        }
        Ok(found)
    }
}

fn section(file: &[u8], at: usize, names: usize) -> Result<Section> {
    let start = number(file, at + 24, 8)?;
    Ok(Section {
        name: text(file, names + number(file, at, 4)?)?,
        kind: u32::try_from(number(file, at + 4, 4)?)?,
        flags: number(file, at + 8, 8)?,
        contents: start..start.saturating_add(number(file, at + 32, 8)?),
        link: number(file, at + 40, 4)?,
        info: number(file, at + 44, 4)?,
    })
}

fn symbol(file: &[u8], at: usize, strings: usize) -> Result<Symbol> {
    let info = u8::try_from(number(file, at + 4, 1)?)?;
    Ok(Symbol {
        name: text(file, strings + number(file, at, 4)?)?,
        section: number(file, at + 6, 2)?,
        value: number(file, at + 8, 8)?,
        size: number(file, at + 16, 8)?,
        is_function: info & 0xf == STT_FUNC,
    })
}

pub(super) fn number(file: &[u8], at: usize, width: usize) -> Result<usize> {
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
        assert!(elf.sections().iter().any(|section| section.name == ".text"));
        assert!(elf.symbols().iter().any(|symbol| symbol.name == "main" && symbol.is_function));
        assert!(elf.code().any(|(index, code)| elf.sections()[index].name == ".text" && !code.is_empty()));
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
