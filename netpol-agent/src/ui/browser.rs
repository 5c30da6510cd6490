//! The page in a real browser.

mod reading;

use netpol_browser::{Browser, DOWN, ENTER, TAB};

use super::tests::Page;
use crate::{
    flow::{FlowRecord, Kind, PartyRecord, Verdict, tests_support::sample},
    model::{Name, Workload},
};

/// Harmless as a text.
const HOSTILE: &str = "<img src=x onerror=\"document.title='owned'\">";

/// From `web` by the Service to `db`, let in by the policy's only rule.
fn forwarded() -> FlowRecord {
    let mut record = FlowRecord {
        kind: Kind::Opened,
        verdict: Verdict::Forwarded,
        reason: None,
        ingress: "shop/db-ingress spec.ingress[0]".into(),
        ..sample()
    };
    record.policies[0].rule = Some("spec.ingress[0]".into());
    let mut backend = record.destination.clone().unwrap();
    backend.workload = Some(Workload { kind: "StatefulSet".into(), name: "db".into() }.into());
    let asked = PartyRecord::unknown([10, 96, 0, 9].into(), 80);
    record.destination = Some(PartyRecord { service: Some(Name::new("shop", "db")), ..asked });
    record.translated = Some(backend);
    rename(record, "web")
}

fn rename(mut record: FlowRecord, sender: &str) -> FlowRecord {
    record.source.as_mut().unwrap().pod = Some(sender.into());
    record
}

fn start() -> (Page, Browser) {
    let page = Page::start();
    let audit = FlowRecord { kind: Kind::Opened, verdict: Verdict::Audit, reason: None, ..sample() };
    let records = [forwarded(), rename(audit, "report"), rename(sample(), "stranger")];
    records.into_iter().for_each(|record| page.fixture.flows.add(record));
    let browser = Browser::start();
    browser.resize(1280, 800);
    (page, browser)
}

#[test]
fn a_browser_shows_the_map_the_flows_the_policy_and_the_explanation() {
    let (page, browser) = start();
    let home = format!("http://127.0.0.1:{}/", page.port);

    browser.open(&home);
    browser.await_true(
        "document.querySelectorAll('.edge').length === 4 && document.querySelector('.connection.live')",
    );
    // Colour, pattern and sign each tell the three apart.
    for property in ["stroke", "strokeDasharray"] {
        let script = format!(
            "return new Set(['forwarded', 'audit', 'dropped'].map((kind) => \
             getComputedStyle(document.querySelector(`.edge.${{kind}} .line`)).{property})).size"
        );
        assert_eq!(browser.run(&script), 3, "{property}");
    }
    assert_eq!(
        browser.run(
            "const [r, g, b] = getComputedStyle(document.querySelector('.edge.dropped .line')).stroke.match(/\\d+/g); \
             return r > 2 * g && r > 2 * b"
        ),
        true
    );
    assert_eq!(
        browser.run(
            "return ['forwarded', 'audit', 'dropped'] \
             .map((kind) => document.querySelector(`.edge.${kind} text`).textContent).join('')"
        ),
        "✓!✕"
    );
    // By keyboard to the policy behind a verdict, with its rule.
    browser.run("document.querySelector('.edge.forwarded').focus()");
    browser.press(ENTER);
    browser.await_true("document.querySelector('.yaml mark')");
    let marked = "[...document.querySelectorAll('.yaml mark')].map((line) => line.textContent).join('')";
    let marked = browser.run(&format!("return {marked}"));
    let marked = marked.as_str().unwrap();
    assert!(marked.trim_start().starts_with("- from:") && marked.contains("port: 5432"), "{marked}");
    assert!(!marked.contains("app: db"), "{marked}");
    browser.picture("map");

    // Live, and a text stays a text.
    page.fixture.flows.add(rename(sample(), HOSTILE));
    browser.await_true("document.querySelector('table.edges').innerText.includes('<img src=x onerror')");
    assert_eq!(
        browser.run("return document.title + document.querySelectorAll('img').length"),
        "Map · n1 · netpol0"
    );

    // The table, filtered as netpolctl filters.
    browser.open(&format!("{home}#flows"));
    browser.await_true("document.querySelectorAll('table.flows tbody tr').length === 5");
    browser.type_into(".filters [name=value]", "dropped");
    browser.press(TAB);
    browser.press(TAB);
    browser.press(ENTER);
    browser.await_true(
        "location.hash === '#flows?verdict=dropped' && document.querySelectorAll('tbody tr').length === 3",
    );
    assert_eq!(browser.run("return document.querySelectorAll('tbody tr:not(.dropped)').length"), 0);
    browser.run("document.querySelector('tbody button').focus()");
    browser.press(DOWN);
    browser.press(ENTER);
    browser.await_true(
        "document.querySelector('tbody tr:nth-child(2).chosen') && document.querySelector('.detail')",
    );
    // The focus stays with its record when others come.
    page.fixture.flows.add(rename(sample(), "late"));
    browser.await_true("document.querySelector('tbody tr').innerText.includes('shop/late')");
    assert_eq!(
        browser.run(
            "return document.activeElement.closest('tr') === document.querySelector('tr.chosen:nth-child(3)')"
        ),
        true
    );
    browser.picture("flows");
    browser.open(&format!("{home}#flows?pod=nonsense"));
    browser.await_true(
        "document.querySelector('[role=alert]')?.innerText === 'pod: \"nonsense\" is not NAMESPACE/NAME'",
    );
    browser.await_true("document.querySelector('.connection').innerText === 'not following'");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|text| text.contains("400 (Bad Request)")), "{complaints:?}");

    // Why can A not reach B?
    browser.open(&format!("{home}#explain"));
    browser.await_true("document.querySelector('[name=from]')");
    browser.type_into("[name=from]", "shop/stranger");
    browser.type_into("[name=to]", &format!("shop/db-0{ENTER}"));
    browser.await_true("document.querySelector('h2.denied')?.innerText === 'Denied'");
    let why = browser.run("return document.querySelector('main').innerText");
    let why = why.as_str().unwrap();
    assert!(why.contains("podSelector does not match pod shop/stranger"), "{why}");
    browser.picture("explain");

    let origins = browser.run(
        "const all = performance.getEntriesByType('resource').map(({name}) => new URL(name).origin); \
         return [...new Set(all)].join()",
    );
    assert_eq!(origins, home.trim_end_matches('/'));
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_browser_gets_nothing_by_the_name_of_another_site() {
    let (page, browser) = start();
    browser.open(&format!("http://rebound.example:{}/api/flows", page.port));
    let text = browser.run("return document.body.innerText");
    assert!(text.as_str().unwrap().contains("the Host header must be an IP address or localhost"), "{text}");
    // Nor does another site's page that asks by the address.
    browser.open("data:text/html,another site");
    let asked = format!(
        "return fetch('http://127.0.0.1:{}/api/flows').then(() => 'read', (error) => error.name)",
        page.port
    );
    assert_eq!(browser.run(&asked), "TypeError");
}
