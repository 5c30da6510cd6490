//! How much stack the kernel will count for each chain of calls in the kernel object.
//!
//! Kernels before 6.8 add up the frames of a chain, rounded up to 32 bytes each, calls of global functions included, and
//! refuse more than 512 (`check_max_stack_depth` in kernel/bpf/verifier.c). Later ones round less, so an object that the
//! machine at hand loads can be one that others refuse.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::elf::{Elf, Relocation};

/// Bytes of one instruction; a 64-bit load is two.
const INSTRUCTION: usize = 8;
/// `MAX_BPF_STACK`.
const LIMIT: usize = 512;
const ROUNDING: usize = 32;
/// The frame pointer.
const R10: u8 = 10;

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// In the source register of a call: of a function of this object, not of a helper.
const PSEUDO_CALL: u8 = 1;
/// `BPF_LD | BPF_DW | BPF_IMM`, in two instructions.
const LOAD_64: u8 = 0x18;
/// `BPF_ALU64 | BPF_MOV | BPF_X`.
const MOVE: u8 = 0xbf;
/// `BPF_ALU64 | BPF_ADD | BPF_K`.
const ADD: u8 = 0x07;
const CLASS_LDX: u8 = 1;
const CLASS_ST: u8 = 2;
const CLASS_STX: u8 = 3;
const CLASS_ALU: u8 = 4;
const CLASS_ALU64: u8 = 7;

/// A function by section and byte offset.
type Place = (usize, usize);

#[derive(Debug)]
struct Function {
    name: String,
    /// Bytes, rounded.
    frame: usize,
    calls: Vec<Place>,
}

/// # Errors
/// The chain of calls that takes more stack than there is, with the frame of each function; or instructions that cannot be followed.
pub(super) fn check(elf: &Elf<'_>) -> Result<()> {
    let functions = functions(elf)?;
    for &place in functions.keys() {
        let chain = deepest(&functions, place, &mut Vec::new())?;
        let bytes: usize = chain.iter().map(|function| function.frame).sum();
        if bytes > LIMIT {
            let chain: Vec<_> =
                chain.iter().map(|function| format!("{} ({})", function.name, function.frame)).collect();
            bail!("{bytes} bytes of stack where {LIMIT} are allowed: {}", chain.join(" → "));
        }
    }
    Ok(())
}

fn functions(elf: &Elf<'_>) -> Result<BTreeMap<Place, Function>> {
    let mut found = BTreeMap::new();
    for (section, code) in elf.code() {
        let relocations = elf.relocations(section)?;
        for symbol in elf.symbols().iter().filter(|symbol| symbol.is_function && symbol.section == section) {
            let body = code
                .get(symbol.value..symbol.value.saturating_add(symbol.size))
                .with_context(|| format!("{} ends outside its section", symbol.name))?;
            let frame = frame(body).next_multiple_of(ROUNDING).max(ROUNDING);
            let calls = calls(elf, (section, symbol.value), body, &relocations)
                .with_context(|| format!("in {}", symbol.name))?;
            found.insert((section, symbol.value), Function { name: symbol.name.clone(), frame, calls });
        }
    }
    Ok(found)
}

/// Bytes below the frame pointer that a function touches, or hands out the address of.
fn frame(body: &[u8]) -> usize {
    // Registers that hold the frame pointer, moved by so much.
    let mut offsets = [None; 16];
    offsets[usize::from(R10)] = Some(0);
    let mut deepest = 0_i64;
    for instruction in body.chunks_exact(INSTRUCTION) {
        let (destination, source) = (instruction[1] & 0xf, instruction[1] >> 4);
        let displacement = i64::from(i16::from_le_bytes([instruction[2], instruction[3]]));
        let of = |offsets: &[Option<i64>; 16], register: u8| offsets[usize::from(register)];
        let touched = match instruction[0] & 7 {
            CLASS_LDX => of(&offsets, source).map(|offset| offset + displacement),
            CLASS_ST | CLASS_STX => of(&offsets, destination).map(|offset| offset + displacement),
            CLASS_ALU | CLASS_ALU64 => {
                offsets[usize::from(destination)] = match instruction[0] {
                    MOVE => of(&offsets, source),
                    ADD => of(&offsets, destination).map(|offset| offset + i64::from(immediate(instruction))),
                    _ => None,
                };
                of(&offsets, destination)
            }
            _ => None,
        };
        if instruction[0] & 7 == CLASS_LDX || instruction[0] == LOAD_64 {
            offsets[usize::from(destination)] = None;
        }
        deepest = deepest.min(touched.unwrap_or(0));
    }
    usize::try_from(-deepest).unwrap_or(0)
}

/// Functions whose frames can be on top of this one's: those called, and those handed to a helper.
fn calls(elf: &Elf<'_>, place: Place, body: &[u8], relocations: &[Relocation]) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    let mut second_half = false;
    for (index, instruction) in body.chunks_exact(INSTRUCTION).enumerate() {
        if std::mem::take(&mut second_half) {
            continue;
        }
        second_half = instruction[0] == LOAD_64;
        let is_call = instruction[0] == CALL && instruction[1] >> 4 == PSEUDO_CALL;
        if !is_call && !second_half {
            continue;
        }
        let at = place.1 + index * INSTRUCTION;
        let symbol = match relocations.iter().find(|relocation| relocation.at == at) {
            Some(relocation) => Some(elf.symbols().get(relocation.symbol).context("an unknown symbol")?),
            None => None,
        };
        let words = i64::from(immediate(instruction)) + 1;
        match symbol {
            // What is called is so many instructions after the symbol, minus one.
            Some(symbol) if is_call => {
                let offset = i64::try_from(symbol.value)? + words * i64::try_from(INSTRUCTION)?;
                found.push((symbol.section, usize::try_from(offset)?));
            }
            None if is_call => {
                let offset = i64::try_from(at)? + words * i64::try_from(INSTRUCTION)?;
                found.push((place.0, usize::try_from(offset)?));
            }
            Some(symbol) if elf.code().any(|(section, _)| section == symbol.section) => {
                found.push((symbol.section, symbol.value + usize::try_from(immediate(instruction))?));
            }
            _ => {}
        }
    }
    Ok(found)
}

fn immediate(instruction: &[u8]) -> i32 {
    i32::from_le_bytes([instruction[4], instruction[5], instruction[6], instruction[7]])
}

/// The chain of calls from `place` on that takes most.
fn deepest<'a>(
    functions: &'a BTreeMap<Place, Function>,
    place: Place,
    above: &mut Vec<Place>,
) -> Result<Vec<&'a Function>> {
    let function = functions.get(&place).with_context(|| format!("no function at {place:?}"))?;
    ensure!(!above.contains(&place), "{} calls itself", function.name);
    above.push(place);
    let mut longest = Vec::new();
    for &call in &function.calls {
        let chain = deepest(functions, call, above)?;
        if sum(&chain) > sum(&longest) {
            longest = chain;
        }
    }
    above.pop();
    longest.insert(0, function);
    Ok(longest)
}

fn sum(chain: &[&Function]) -> usize {
    chain.iter().map(|function| function.frame).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(instructions: &[(u8, u8, u8, i16, i32)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (opcode, destination, source, offset, immediate) in instructions {
            bytes.extend([*opcode, source << 4 | destination]);
            bytes.extend(offset.to_le_bytes());
            bytes.extend(immediate.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn what_is_stored_counts() {
        assert_eq!(frame(&code(&[(0x7b, R10, 1, -48, 0), (0x79, 2, R10, -48, 0)])), 48);
    }

    #[test]
    fn addresses_that_are_handed_out_count() {
        assert_eq!(frame(&code(&[(MOVE, 2, R10, 0, 0), (ADD, 2, 0, 0, -72), (CALL, 0, 0, 0, 1)])), 72);
    }

    #[test]
    fn a_register_with_something_else_does_not_count() {
        let other =
            code(&[(MOVE, 2, R10, 0, 0), (0x79, 2, 1, 0, 0), (ADD, 2, 0, 0, -72), (0x7b, 2, 1, -80, 0)]);
        assert_eq!(frame(&other), 0);
    }

    #[test]
    fn the_deepest_chain_is_found() {
        let function = |name: &str, frame, calls: &[usize]| Function {
            name: name.to_owned(),
            frame,
            calls: calls.iter().map(|&offset| (0, offset)).collect(),
        };
        let functions = BTreeMap::from([
            ((0, 0), function("a", 32, &[1, 2])),
            ((0, 1), function("b", 64, &[3])),
            ((0, 2), function("c", 160, &[])),
            ((0, 3), function("d", 128, &[])),
        ]);
        let chain = deepest(&functions, (0, 0), &mut Vec::new()).unwrap();
        assert_eq!(chain.iter().map(|function| function.name.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    }
}
