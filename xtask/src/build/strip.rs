//! The kernel object without debug information.
//!
//! The compiler has to make it, because BTF is made from it; then nobody reads it any more. It is two thirds of the object, which the
//! agent carries in itself, and looks through when it loads the programs.

use anyhow::{Context, Result, ensure};

use super::elf::{Elf, SECTION_HEADER, number};

/// Bytes of an `Elf64_Ehdr`.
const HEADER: usize = 64;
/// Where it says at which byte the section headers begin.
const SECTION_HEADERS: usize = 0x28;
/// Where it says how many program headers there are.
const PROGRAM_HEADERS: usize = 0x38;
/// `sh_type` of the header that stands for no section.
const SHT_NULL: u32 = 0;
/// `sh_type` of a section of bytes.
const SHT_PROGBITS: u32 = 1;
/// `sh_type` of a section without bytes in the file.
const SHT_NOBITS: u32 = 8;

/// The object with all its sections, of which those of DWARF and their relocations are empty: symbols and headers name sections by
/// number.
///
/// # Errors
/// If it is no relocatable ELF file, or an offset points outside it.
pub(super) fn without_debug_information(object: &[u8]) -> Result<Vec<u8>> {
    let elf = Elf::parse(object)?;
    ensure!(number(object, PROGRAM_HEADERS, 2)? == 0, "it has program headers");
    let table = number(object, SECTION_HEADERS, 8)?;
    let table = object.get(table..table + elf.sections().len() * SECTION_HEADER);
    let mut headers = table.context("section headers outside the file")?.to_vec();
    let mut stripped = object.get(..HEADER).context("no header")?.to_vec();
    for (section, header) in elf.sections().iter().zip(headers.chunks_exact_mut(SECTION_HEADER)) {
        if section.kind == SHT_NULL {
            continue;
        }
        let alignment = number(header, 48, 8)?.max(1);
        stripped.resize(stripped.len().next_multiple_of(alignment), 0);
        put(header, 24, stripped.len());
        if [".debug_", ".rel.debug_"].iter().any(|debug| section.name.starts_with(debug)) {
            header[4..8].copy_from_slice(&SHT_PROGBITS.to_le_bytes());
            // Flags, size, the sections that it belongs to, size of an entry.
            [8, 32, 40, 56].into_iter().for_each(|field| put(header, field, 0));
        } else if section.kind != SHT_NOBITS {
            let contents = object.get(section.contents.clone());
            stripped.extend(contents.with_context(|| format!("{} is outside the file", section.name))?);
        }
    }
    stripped.resize(stripped.len().next_multiple_of(size_of::<u64>()), 0);
    let table = stripped.len();
    put(&mut stripped, SECTION_HEADERS, table);
    stripped.extend(headers);
    Ok(stripped)
}

/// Writes 64 bits.
fn put(to: &mut [u8], at: usize, value: usize) {
    to[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A relocatable object with these sections (name, type, contents), their names in the last one.
    fn object(sections: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let names: String = sections.iter().map(|(name, ..)| format!("{name}\0")).collect();
        let names = format!("\0{names}.names\0");
        let all = sections.iter().copied().chain([(".names", 3, names.as_bytes())]);
        let mut file = vec![0; HEADER];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let (mut headers, mut count) = (vec![0; SECTION_HEADER], 1_u16);
        for (name, kind, contents) in all {
            let mut header = [0; SECTION_HEADER];
            let at = names.find(&format!("\0{name}\0")).unwrap() + 1;
            header[..4].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
            header[4..8].copy_from_slice(&kind.to_le_bytes());
            put(&mut header, 24, file.len());
            put(&mut header, 32, contents.len());
            put(&mut header, 48, 4);
            file.extend(contents);
            file.resize(file.len().next_multiple_of(4), 0);
            headers.extend(header);
            count += 1;
        }
        let table = file.len();
        put(&mut file, SECTION_HEADERS, table);
        file[0x3c..0x3e].copy_from_slice(&count.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&(count - 1).to_le_bytes());
        file.extend(headers);
        file
    }

    fn contents(file: &[u8]) -> Vec<(String, Vec<u8>)> {
        let elf = Elf::parse(file).unwrap();
        let named = elf.sections().iter().map(|s| (s.name.clone(), file[s.contents.clone()].to_vec()));
        named.filter(|(name, _)| name != ".names").collect()
    }

    #[test]
    fn debug_information_goes_and_everything_else_stays_in_its_place() {
        let large = [7; 1000];
        let file = object(&[
            (".text", SHT_PROGBITS, b"instructions"),
            (".debug_info", SHT_PROGBITS, &large),
            (".rel.debug_info", 9, &large),
            (".BTF", SHT_PROGBITS, b"types"),
            (".debugger", SHT_PROGBITS, b"none"),
        ]);
        let stripped = without_debug_information(&file).unwrap();
        let expected: [(&str, &[u8]); 6] = [
            ("", b""),
            (".text", b"instructions"),
            (".debug_info", b""),
            (".rel.debug_info", b""),
            (".BTF", b"types"),
            (".debugger", b"none"),
        ];
        assert_eq!(contents(&stripped), expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())));
        // Section headers are aligned to eight bytes.
        assert!(stripped.len() + 2 * large.len() < file.len() + 8);
        assert_eq!(without_debug_information(&stripped).unwrap(), stripped, "nothing is left to do");
    }

    #[test]
    fn a_program_and_a_cut_off_object_are_errors() {
        let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert!(without_debug_information(&program).is_err());
        let file = object(&[(".text", SHT_PROGBITS, b"instructions")]);
        assert!(without_debug_information(&file[..file.len() - 1]).is_err());
    }
}
