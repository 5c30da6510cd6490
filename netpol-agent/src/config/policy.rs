//! What becomes of what policies deny.

use clap::{Args, ValueEnum, builder::PossibleValue};

use crate::model::Mode;

/// Arguments about policies.
#[derive(Clone, Copy, PartialEq, Eq, Args, Debug)]
pub struct PolicyArgs {
    /// What becomes of connections that a policy denies which does not say, and whose namespace does not (annotation
    /// netpol.dev/mode)
    #[arg(long, value_enum, default_value = "enforce")]
    pub policy_mode: Mode,
}

impl ValueEnum for Mode {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Enforce, Self::Audit]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Enforce => PossibleValue::new("enforce").help("They are dropped"),
            Self::Audit => PossibleValue::new("audit").help("They pass, and are told of"),
        })
    }
}
