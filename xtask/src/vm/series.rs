//! The kernels we answer for.

use super::mirror::Suite;

/// One line of kernel releases.
#[derive(Debug)]
pub(super) struct Series {
    /// As people call it; the command line too.
    pub(super) name: &'static str,
    /// Where Debian has it.
    pub(super) suite: Suite,
    /// How the release begins.
    release_prefix: &'static str,
    /// Whether the matrix fails if it cannot be had.
    pub(super) required: bool,
}

/// Oldest first. The first is our floor; Debian has no 5.15 and no 6.6.
pub(super) const SERIES: &[Series] = &[
    Series { name: "5.10", suite: Suite::BullseyeSecurity, release_prefix: "5.10.", required: false },
    Series { name: "6.1", suite: Suite::Bookworm, release_prefix: "6.1.", required: true },
    Series { name: "6.12", suite: Suite::Bookworm, release_prefix: "6.12.", required: true },
    Series { name: "6.18", suite: Suite::TrixieBackports, release_prefix: "6.18.", required: false },
    Series { name: "7", suite: Suite::TrixieBackports, release_prefix: "7.", required: false },
];

impl Series {
    /// The newest release of this series among package names, and the packages to unpack for it.
    ///
    /// Up to 6.18 image and modules are one package; later `linux-image-*` is empty and depends on two others.
    pub(super) fn newest<'a>(
        &self,
        packages: impl Iterator<Item = &'a str>,
    ) -> Option<(String, Vec<String>)> {
        let mut best: Option<(Vec<u32>, String, bool)> = None;
        for package in packages {
            let (split, release) = match package.strip_prefix("linux-binary-") {
                Some(release) => (true, release),
                None => match package.strip_prefix("linux-image-") {
                    Some(release) => (false, release),
                    None => continue,
                },
            };
            if !release.starts_with(self.release_prefix) || !release.ends_with("-cloud-amd64") {
                continue;
            }
            let key = numbers(release);
            // Of one release both may be there; the split one is the one with contents.
            if best.as_ref().is_none_or(|(known, _, known_split)| (&key, split) > (known, *known_split)) {
                best = Some((key, release.to_owned(), split));
            }
        }
        let (_, release, split) = best?;
        let kinds: &[&str] = if split { &["binary", "modules"] } else { &["image"] };
        let packages = kinds.iter().map(|kind| format!("linux-{kind}-{release}")).collect();
        Some((release, packages))
    }
}

/// The numbers of a release in their order: `6.1.0-56-cloud-amd64` is 6, 1, 0, 56 (and the 64 all have).
fn numbers(release: &str) -> Vec<u32> {
    release
        .split(|character: char| !character.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str) -> &'static Series {
        SERIES.iter().find(|series| series.name == name).unwrap()
    }

    #[test]
    fn releases_compare_by_number_not_by_letter() {
        let packages = ["linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-56-cloud-amd64"];
        let (release, packages) = series("6.1").newest(packages.into_iter()).unwrap();
        assert_eq!(release, "6.1.0-56-cloud-amd64");
        assert_eq!(packages, ["linux-image-6.1.0-56-cloud-amd64"]);
    }

    #[test]
    fn a_series_is_no_prefix_of_another() {
        assert!(series("6.1").newest(["linux-image-6.12.9+deb12-cloud-amd64"].into_iter()).is_none());
    }

    #[test]
    fn metapackages_and_debug_symbols_are_no_kernels() {
        let packages = ["linux-image-6.12-cloud-amd64", "linux-image-6.12.1+deb12-cloud-amd64-dbg"];
        assert!(series("6.12").newest(packages.into_iter()).is_none());
    }

    #[test]
    fn of_an_empty_image_the_two_packages_with_contents_are_taken() {
        let packages = ["linux-image-7.3.4+deb13-cloud-amd64", "linux-binary-7.3.4+deb13-cloud-amd64"];
        let (_, packages) = series("7").newest(packages.into_iter()).unwrap();
        assert_eq!(
            packages,
            ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
        );
    }
}
