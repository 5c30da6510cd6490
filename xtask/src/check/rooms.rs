//! Rule: inside the agent, each room uses only what docs/architecture.md lets it.

use super::tree::Tree;

struct Rule {
    /// Files below this folder …
    folder: &'static str,
    /// … except those below one of these …
    except: &'static [&'static str],
    /// … hold none of these words …
    words: &'static [&'static str],
    /// … because:
    why: &'static str,
}

const KERNEL: &str = "netpol-agent/src/dataplane/kernel/";

const RULES: &[Rule] = &[
    Rule {
        folder: "netpol-agent/src/",
        except: &[KERNEL],
        words: &["aya::", "netlink_packet_route::", "netlink_sys::", "unsafe {", "unsafe fn", "unsafe impl"],
        why: "only dataplane::kernel uses aya, netlink and unsafe",
    },
    Rule {
        folder: "netpol-common/src/",
        except: &[],
        words: &["unsafe {", "unsafe fn", "unsafe impl"],
        why: "layouts derive what they need",
    },
    Rule {
        folder: "netpol-agent/src/oracle/",
        except: &[],
        words: &["crate::index", "crate::compile", "crate::plan", "crate::dataplane"],
        why: "the oracle shares no code with what it judges",
    },
    Rule {
        folder: "netpol-agent/src/index/",
        except: &[],
        words: &["tokio::", "std::time", "std::fs", "crate::runtime", "crate::dataplane::kernel"],
        why: "the index has no client, no clock, no I/O",
    },
    Rule {
        folder: "netpol-agent/src/compile/",
        except: &[],
        words: &["tokio::", "std::time", "std::fs", "crate::runtime", "crate::dataplane::kernel"],
        why: "compiling is pure",
    },
    Rule {
        folder: "netpol-agent/src/plan/",
        except: &[],
        words: &["tokio::", "std::time", "std::fs", "crate::runtime", "crate::dataplane::kernel"],
        why: "planning is pure",
    },
];

pub(super) fn check(tree: &Tree, found: &mut Vec<String>) {
    for Rule { folder, except, words, why } in RULES {
        let inside =
            |path: &str| path.starts_with(folder) && !except.iter().any(|other| path.starts_with(other));
        for (path, text) in tree.rust().filter(|(path, _)| inside(path)) {
            for (number, line) in (1..).zip(text.lines()) {
                // What a comment names is not used.
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                    found.push(format!("{path}:{number}: `{word}`: {why}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aya_is_found_outside_its_room_and_not_within() {
        let tree = Tree::of(&[
            ("netpol-agent/src/plan/order.rs", "/// Not aya::Ebpf.\nuse aya::Ebpf;\n"),
            ("netpol-agent/src/dataplane/kernel/object.rs", "use aya::Ebpf;\n"),
        ]);
        let mut found = Vec::new();
        check(&tree, &mut found);
        assert_eq!(
            found,
            [
                "netpol-agent/src/plan/order.rs:2: `aya::`: only dataplane::kernel uses aya, netlink and unsafe"
            ]
        );
    }
}
