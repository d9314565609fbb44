//! The methods of Go's `crypto/tls` in a program, from the table that Go itself finds functions by. It is in
//! stripped programs too.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use object::{Object, ObjectSection, ReadRef};

use crate::tls_library::{Does, Returns, TlsFunction, file_offset};

const METHODS: [(&str, Does); 5] = [
    ("crypto/tls.(*Conn).Read", Does::GoRead),
    ("crypto/tls.(*Conn).Write", Does::GoWrite),
    ("crypto/tls.(*Conn).Close", Does::GoClose),
    ("crypto/tls.(*Conn).clientHandshake", Does::GoHandshake),
    ("crypto/tls.(*Conn).serverHandshake", Does::GoHandshake),
];

/// Where the table is, in programs for a fixed address and for any.
const TABLES: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// How the table begins, since Go 1.18 and since Go 1.20 (`internal/abi`, `CurrentPCLnTabMagic`).
const MAGICS: [u32; 2] = [0xffff_fff0, 0xffff_fff1];
/// What a function of Go 1.17 or newer does first is to compare the stack pointer, or where it is going to be, with the
/// goroutine's limit: `cmp rsp, [r14+16]` or `cmp r12, [r14+16]`.
const LOOKS_AT_LIMIT: [[u8; 4]; 2] = [[0x49, 0x3b, 0x66, 0x10], [0x4d, 0x3b, 0x66, 0x10]];
/// Within so many bytes of its beginning.
const FIRST: usize = 12;
/// How code is aligned, and how far from the section's beginning that of Go is looked for.
const ALIGNMENT: usize = 16;
const FARTHEST: u64 = 4 << 20;

/// A function of the table: where it begins and ends, from the beginning of all code on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    start: u64,
    end: u64,
}

/// The methods that a program has; none if it is not Go, has no TLS, or is of a Go before 1.18.
pub(crate) fn functions<'data, R: ReadRef<'data>>(
    file: &object::File<'data, R>,
) -> Vec<TlsFunction> {
    find(file).unwrap_or_default()
}

fn find<'data, R: ReadRef<'data>>(file: &object::File<'data, R>) -> Option<Vec<TlsFunction>> {
    let mut tables = TABLES.iter().filter_map(|name| file.section_by_name(name));
    let table = tables.next()?.uncompressed_data().ok()?;
    let table = Table::parse(&table)?;
    let methods = table.find(&METHODS.map(|(name, _)| name));
    let methods: Vec<(Does, Extent)> = METHODS
        .iter()
        .zip(methods)
        .filter_map(|((_, does), extent)| Some((*does, extent?)))
        .collect();
    let text = file.section_by_name(".text")?;
    // Only what is needed of it: programs of a hundred megabytes are not rare.
    let code = |address: u64, size: u64| text.data_range(address, size).ok().flatten();
    let extents: Vec<Extent> = methods.iter().map(|(_, extent)| *extent).collect();
    let text = (text.address(), text.size());
    let base = beginning(code, text, table.text_start, &extents)?;
    let found = methods.into_iter().map(|(does, extent)| {
        let start = base.checked_add(extent.start)?;
        let offset = file_offset(file, start)?;
        let returns = match does {
            Does::GoRead | Does::GoWrite => {
                let returns = returns(code(start, extent.end - extent.start)?);
                Returns::At(returns.into_iter().map(|at| offset + at).collect())
            }
            _ => Returns::Unseen,
        };
        Some(TlsFunction {
            does,
            offset,
            returns,
        })
    });
    found.collect()
}

/// The address that the table counts from, given the code and where it is. Programs that can be loaded anywhere do not
/// tell it (Go 1.26), but where these functions begin as Go's do it must be.
fn beginning<'data>(
    code: impl Fn(u64, u64) -> Option<&'data [u8]>,
    (address, size): (u64, u64),
    told: u64,
    extents: &[Extent],
) -> Option<u64> {
    if extents.is_empty() {
        return None;
    }
    let begin_there = |base: &u64| {
        extents.iter().all(|extent| {
            let first = base
                .checked_add(extent.start)
                .and_then(|start| code(start, FIRST as u64));
            first.is_some_and(is_beginning)
        })
    };
    if let Some(base) = [told, address].into_iter().find(begin_there) {
        return Some(base);
    }
    let windows = extents.iter().map(|extent| {
        let from = address.checked_add(extent.start)?;
        let left = size.checked_sub(extent.start)?;
        code(from, left.min(FARTHEST))
    });
    let windows: Vec<&[u8]> = windows.collect::<Option<_>>()?;
    let shortest = windows.iter().map(|window| window.len()).min()?;
    let mut steps = (0..shortest).step_by(ALIGNMENT);
    let begin_there = |step: &usize| {
        let mut windows = windows.iter();
        windows.all(|window| is_beginning(&window[*step..]))
    };
    Some(address + steps.find(begin_there)? as u64)
}

fn is_beginning(code: &[u8]) -> bool {
    let first = &code[..FIRST.min(code.len())];
    LOOKS_AT_LIMIT
        .iter()
        .any(|look| first.windows(look.len()).any(|bytes| bytes == look))
}

/// Where a function's return instructions are, from its beginning on.
fn returns(code: &[u8]) -> Vec<usize> {
    let decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let instructions = decoder.into_iter();
    let returns = instructions.filter(|instruction| instruction.mnemonic() == Mnemonic::Ret);
    returns
        .filter_map(|instruction| usize::try_from(instruction.ip()).ok())
        .collect()
}

/// Go's table of functions (`pcHeader` and `_func` in `src/runtime/symtab.go` and `runtime2.go`).
struct Table<'a> {
    bytes: &'a [u8],
    functions: usize,
    /// 0: it is not told.
    text_start: u64,
    names: usize,
    /// The functions' places, and what is known of each.
    places: usize,
}

impl<'a> Table<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let is_known = MAGICS.contains(&number_at(bytes, 0)?);
        // Instructions begin anywhere, pointers have 8 bytes: x86-64.
        if !is_known || bytes.get(6..8)? != [1, 8] {
            return None;
        }
        let word = |at: usize| {
            let word = bytes.get(8 + at * 8..)?.first_chunk()?;
            Some(u64::from_le_bytes(*word))
        };
        let place = |at: usize| usize::try_from(word(at)?).ok();
        Some(Self {
            bytes,
            functions: place(0)?,
            text_start: word(2)?,
            names: place(3)?,
            places: place(7)?,
        })
    }

    /// The functions of these names.
    fn find<const N: usize>(&self, names: &[&str; N]) -> [Option<Extent>; N] {
        let mut found = [None; N];
        for at in 0..self.functions {
            let Some((name, extent)) = self.function(at) else {
                break;
            };
            for (known, found) in names.iter().zip(&mut found) {
                if name
                    .strip_prefix(known.as_bytes())
                    .is_some_and(|rest| rest.first() == Some(&0))
                {
                    *found = Some(extent);
                }
            }
        }
        found
    }

    /// A function: from its name on, and where it is.
    fn function(&self, at: usize) -> Option<(&'a [u8], Extent)> {
        let entry = self.places.checked_add(at.checked_mul(8)?)?;
        let [start, end] = [entry, entry.checked_add(8)?].map(|at| number_at(self.bytes, at));
        let known = number_at(self.bytes, entry.checked_add(4)?)?;
        let known = self.places.checked_add(usize::try_from(known).ok()?)?;
        let name = number_at(self.bytes, known.checked_add(4)?)?;
        let name = self.names.checked_add(usize::try_from(name).ok()?)?;
        let extent = Extent {
            start: start?.into(),
            end: end?.into(),
        };
        (extent.end > extent.start).then_some(())?;
        Some((self.bytes.get(name..)?, extent))
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let number = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of two functions of a program at address 0x1000 (or one that does not tell it).
    fn table(text_start: u64) -> Vec<u8> {
        const HEAD: u64 = 8 + 8 * 8;
        let names = b"main.main\0crypto/tls.(*Conn).Read\0";
        let places = HEAD + names.len() as u64;
        let mut bytes = 0xffff_fff1u32.to_le_bytes().to_vec();
        bytes.extend([0, 0, 1, 8]);
        for word in [2, 0, text_start, HEAD, 0, 0, 0, places] {
            bytes.extend(u64::to_le_bytes(word));
        }
        bytes.extend(names);
        // Two places, the end of the last function, and what is known of each: its place and its name.
        for word in [0u32, 20, 32, 28, 64, 0, 0, 32, 10] {
            bytes.extend(word.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn functions_are_found_by_name() {
        let bytes = table(0x1000);
        let table = Table::parse(&bytes).unwrap();
        assert_eq!(table.text_start, 0x1000);
        let found = table.find(&[
            "crypto/tls.(*Conn).Read",
            "crypto/tls.(*Conn).Rea",
            "main.main",
        ]);
        let [read, main] = [(32, 64), (0, 32)].map(|(start, end)| Some(Extent { start, end }));
        assert_eq!(found, [read, None, main]);
    }

    #[test]
    fn a_table_that_is_cut_off_or_of_another_kind_has_no_functions() {
        let whole = table(0);
        for len in 0..whole.len() - 1 {
            let found =
                Table::parse(&whole[..len]).map(|table| table.find(&["crypto/tls.(*Conn).Read"]));
            assert!(matches!(found, None | Some([None])), "{len}");
        }
        for at in 0..whole.len() {
            for byte in [0, 0x7f, 0xff] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                if let Some(table) = Table::parse(&bytes) {
                    table.find(&["main.main"]);
                }
            }
        }
        let mut old = whole;
        old[0] = 0xfa;
        assert!(Table::parse(&old).is_none());
    }

    #[test]
    fn where_code_begins_is_told_or_found() {
        let read = [Extent { start: 32, end: 64 }];
        let mut go = [0x90; 256];
        go[16 + 32..][..4].copy_from_slice(&LOOKS_AT_LIMIT[0]);
        let find = |code: &'static [u8; 256], told, extents: &[Extent]| {
            let bytes = |address: u64, size: u64| {
                let from = usize::try_from(address.checked_sub(0x1000)?).ok()?;
                code.get(from..from + size as usize)
            };
            beginning(bytes, (0x1000, 256), told, extents)
        };
        let go: &[u8; 256] = Box::leak(Box::new(go));
        for told in [0x1010, 0, 0x1000, u64::MAX] {
            assert_eq!(find(go, told, &read), Some(0x1010));
        }
        assert_eq!(find(&[0x90; 256], 0x1010, &read), None);
        assert_eq!(find(go, 0x1010, &[]), None);
        assert_eq!(
            find(
                go,
                0,
                &[Extent {
                    start: 300,
                    end: 400
                }]
            ),
            None
        );
    }

    #[test]
    fn returns_are_instructions_and_not_their_operands() {
        // mov eax, 0xc3; ret; nop; ret
        let code = [0xb8, 0xc3, 0, 0, 0, 0xc3, 0x90, 0xc3];
        assert_eq!(returns(&code), [5, 7]);
        assert!(returns(&[]).is_empty());
    }
}
