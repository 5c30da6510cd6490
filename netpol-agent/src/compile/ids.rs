use netpol_common::{
    direction::Direction,
    policy::{ClassId, PortSetId, RuleId, SlotId},
};
use sha2::{Digest, Sha256};

use super::{
    feature::{Feature, FeatureId},
    ports::PortSet,
    rule::{PeerTerm, ResolvedRule},
};
use crate::model::{LabelSelector, Name, Namespaces, Policy, Test};

/// Makes numbers of contents: the first 64 bits of SHA-256 over a canonical form, in which every list and text is
/// preceded by its length, so that different contents never have the same form.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ids {
    /// Bits that are kept. All of them, but for tests that want collisions.
    pub(super) mask: u64,
}

impl Ids {
    pub(super) fn rule(self, policy: &Policy, direction: Direction, index: usize) -> RuleId {
        let mut form = Form::new("rule");
        form.name(&policy.name).text(&policy.uid).number(policy.generation.cast_unsigned());
        form.number(direction as u64).number(index as u64);
        RuleId(form.finish(self.mask) | RuleId::HASHED)
    }

    pub(super) fn feature(self, feature: &Feature) -> FeatureId {
        let mut form = Form::new("feature");
        match feature {
            Feature::Pods(selector) => {
                match &selector.namespaces {
                    Namespaces::Named(name) => form.text("named").text(name),
                    Namespaces::Labelled(labels) => form.text("labelled").selector(labels),
                };
                form.selector(&selector.pods)
            }
            Feature::Block(block) => {
                form.text("block").text(&block.cidr.to_string());
                form.list(&block.except, |form, except| {
                    form.text(&except.to_string());
                })
            }
            Feature::Port(port) => {
                form.text("port").text(&port.name).number(port.proto.into()).number(port.port.into())
            }
        };
        FeatureId(form.finish(self.mask))
    }

    /// Of sorted features.
    pub(super) fn class(self, features: &[FeatureId]) -> ClassId {
        let mut form = Form::new("class");
        form.list(features, |form, feature| {
            form.number(feature.0);
        });
        ClassId(form.finish(self.mask))
    }

    pub(super) fn slot(self, direction: Direction, policies: &[Name], rules: &[ResolvedRule]) -> SlotId {
        let mut form = Form::new("slot");
        form.number(direction as u64).list(policies, |form, policy| {
            form.name(policy);
        });
        form.list(rules, |form, rule| {
            form.number(rule.id.0);
            match &rule.peers {
                PeerTerm::Any => form.text("any"),
                PeerTerm::Of(features) => form.text("of").list(features, |form, feature| {
                    form.number(feature.0);
                }),
            };
            form.number(rule.any_port.into());
            form.list(&rule.ranges, |form, r| {
                form.number(r.proto.into()).number(r.first.into()).number(r.last.into());
            });
            form.list(&rule.names, |form, (name, proto)| {
                form.text(name).number((*proto).into());
            });
        });
        SlotId(form.finish(self.mask))
    }

    pub(super) fn ports(self, set: &PortSet) -> PortSetId {
        let mut form = Form::new("ports");
        form.list(&set.prefixes, |form, p| {
            form.number(p.proto.into()).number(p.prefix.len.into()).number(p.prefix.value.into());
            form.number(p.rule.0);
        });
        PortSetId(form.finish(self.mask))
    }
}

struct Form(Sha256);

impl Form {
    fn new(kind: &str) -> Self {
        let mut form = Self(Sha256::new());
        form.text(kind);
        form
    }
    fn number(&mut self, value: u64) -> &mut Self {
        self.0.update(value.to_be_bytes());
        self
    }
    fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len() as u64).0.update(text);
        self
    }
    fn name(&mut self, name: &Name) -> &mut Self {
        self.text(&name.namespace).text(&name.name)
    }
    fn list<I>(&mut self, items: I, mut write: impl FnMut(&mut Self, I::Item)) -> &mut Self
    where
        I: IntoIterator<IntoIter: ExactSizeIterator>,
    {
        let items = items.into_iter();
        self.number(items.len() as u64);
        items.for_each(|item| write(self, item));
        self
    }
    fn selector(&mut self, selector: &LabelSelector) -> &mut Self {
        self.list(&*selector.requirements, |form, requirement| {
            form.text(&requirement.key);
            let (test, values) = match &requirement.test {
                Test::In(values) => ("in", Some(values)),
                Test::NotIn(values) => ("not in", Some(values)),
                Test::Exists => ("exists", None),
                Test::DoesNotExist => ("does not exist", None),
            };
            form.text(test).number(values.map_or(0, |v| v.len() as u64));
            for value in values.into_iter().flatten() {
                form.text(value);
            }
        })
    }
    /// 0 stands for "none" in every kind of number.
    fn finish(self, mask: u64) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(self.0.finalize());
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]) & mask).max(1)
    }
}
