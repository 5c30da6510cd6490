//! Rows and how they are checked.

use anyhow::{Context, Result, ensure};
use netpol_common::{direction::Direction, reason::DropReason};
use netpol_tests::packet::{Counted, Hook, Lab, Place, Seen, Verdict, World, in_lab, verify};

/// One packet and everything that must be seen of it.
pub(crate) struct Row<'a> {
    pub(crate) name: &'a str,
    pub(crate) place: Place,
    pub(crate) packet: Vec<u8>,
    pub(crate) expect: Expect,
}

/// What must be seen. Counters that are not listed must not change.
pub(crate) enum Expect {
    /// Verdict, packet unchanged, no counter: a packet of a known connection, or one below policy.
    Known(Verdict),
    /// The same, translated to exactly these bytes.
    Translated(Verdict, Vec<u8>),
    /// Verdict of a packet that opens a connection.
    Opens(Verdict),
    /// The same, translated.
    OpensTranslated(Verdict, Vec<u8>),
    /// Verdict, packet unchanged, and each of these counters one more. Events are not looked at.
    Counts(Verdict, &'static [&'static str]),
    /// Dropped where it leaves, with one event, and its sender told with exactly these bytes.
    Refused(Vec<u8>),
    /// Dropped by this end, with one event.
    Drop(DropReason, Direction),
}

pub(crate) fn row(name: &str, place: impl Into<Place>, packet: Vec<u8>, expect: Expect) -> Row<'_> {
    Row { name, place: place.into(), packet, expect }
}

/// Sends the rows one after the other: what one leaves behind, the next finds.
pub(crate) fn send_all(lab: &mut Lab, rows: Vec<Row<'_>>) -> Result<()> {
    for row in rows {
        let seen = lab.send(row.place, &row.packet).with_context(|| row.name.to_owned())?;
        check(&row, &seen).with_context(|| format!("row \"{}\"", row.name))?;
    }
    Ok(())
}

fn check(row: &Row<'_>, seen: &Seen) -> Result<()> {
    let opened = || {
        let direction = match row.place {
            Place::Pod(Hook::FromPod(_)) => Direction::Egress,
            Place::Pod(Hook::ToPod(..)) | Place::Uplink(_) => Direction::Ingress,
        };
        Counted::from([(format!("opened {}", direction.name()), 1)])
    };
    let (verdict, packet, counted) = match &row.expect {
        Expect::Known(verdict) => (*verdict, &row.packet, Counted::new()),
        Expect::Translated(verdict, packet) => (*verdict, packet, Counted::new()),
        Expect::Opens(verdict) => (*verdict, &row.packet, opened()),
        Expect::OpensTranslated(verdict, packet) => (*verdict, packet, opened()),
        Expect::Counts(verdict, names) => {
            let counted = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
            (*verdict, &row.packet, counted)
        }
        Expect::Refused(packet) => {
            let counted = ["no-backend egress", "refused"].map(|name| (name.to_owned(), 1));
            (Verdict::HandOver, packet, Counted::from(counted))
        }
        Expect::Drop(reason, direction) => {
            let counted = Counted::from([(format!("{} {}", reason.name(), direction.name()), 1)]);
            (Verdict::Drop, &row.packet, counted)
        }
    };
    ensure!(
        seen.verdict == verdict,
        "verdict {:?}, expected {verdict:?}; counted {:?}",
        seen.verdict,
        seen.counted
    );
    // Judging a known connection again is no verdict.
    let mut changed = seen.counted.clone();
    changed.remove("rejudged");
    ensure!(changed == counted, "counted {changed:?}, expected {counted:?}");
    ensure!(&seen.packet == packet, "packet\n  {:02x?}\nexpected\n  {packet:02x?}", seen.packet);
    if let Expect::Translated(_, packet) | Expect::OpensTranslated(_, packet) | Expect::Refused(packet) =
        &row.expect
    {
        verify(packet).context("the expected packet itself")?;
    }
    match &row.expect {
        Expect::Refused(_) => one_event(seen, DropReason::NoBackend, Direction::Egress)?,
        Expect::Drop(reason, direction) => one_event(seen, *reason, *direction)?,
        Expect::Counts(..) => {}
        _ => ensure!(seen.events.is_empty(), "unexpected events {:?}", seen.events),
    }
    Ok(())
}

fn one_event(seen: &Seen, reason: DropReason, direction: Direction) -> Result<()> {
    let [event] = &seen.events[..] else { anyhow::bail!("{} events, expected one", seen.events.len()) };
    ensure!(event.reason == reason as u8 && event.direction == direction as u8, "event {event:?}");
    Ok(())
}

/// Runs `f` in a lab of its own for each family, with the world settled.
pub(crate) fn in_both_families(f: impl Fn(&mut Lab, World) -> Result<()> + Sync) {
    for family in [4, 6] {
        let result = in_lab(3, |lab| {
            let world = World::new(family);
            world.settle(lab)?;
            f(lab, world)
        });
        if let Err(error) = result {
            panic!("IPv{family}: {error:?}");
        }
    }
}
