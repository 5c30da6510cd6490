//! Narrow screens, keyboards without a mouse, eyes that need contrast.

use netpol_browser::{DOWN, ENTER, ESCAPE, SPACE, Scheme, TAB};

use super::start;

const EXPLAINED: &str = "explain?from=shop%2Fstranger&to=shop%2Fdb-0";

/// Views, and what is there once they are drawn.
const VIEWS: [(&str, &str); 3] = [("map", ".edge"), ("flows", "table.flows"), (EXPLAINED, "h2.denied")];

fn name(view: &str) -> &str {
    view.split('?').next().unwrap()
}

#[test]
fn a_telephone_shows_all_of_it_without_scrolling_sideways() {
    let (page, browser) = start();
    browser.telephone(360, 740);
    for (view, drawn) in VIEWS {
        browser.open(&format!("http://127.0.0.1:{}/#{view}", page.port));
        browser.await_true(&format!("document.querySelector('main {drawn}')"));
        browser.picture(&format!("narrow-{}", name(view)));
        // A policy comes into sight when it is chosen, and is gone again for who has read it.
        browser.tab_to("button.policy, tbody button");
        browser.press(ENTER);
        browser.await_true("document.querySelector('.yaml')");
        browser.await_true(
            "document.querySelector('.policy-text h2').getBoundingClientRect().top < innerHeight / 2",
        );
        browser.picture(&format!("narrow-{}-policy", name(view)));
        let widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths, serde_json::json!([360, 360]), "{view}");
        assert_eq!(browser.small_targets(), serde_json::json!([]), "{view}");
        browser.press(ESCAPE);
        browser.await_true("!document.querySelector('.policy-text')");
        assert_eq!(browser.run("return document.activeElement.matches('tbody button, button.policy')"), true);
        browser.await_true(
            "[document.activeElement.getBoundingClientRect()].every(({top, bottom}) => top > 0 && bottom < innerHeight)",
        );
    }
}

#[test]
fn all_of_it_works_by_keyboard_alone() {
    let (page, browser) = start();
    browser.open(&format!("http://127.0.0.1:{}/", page.port));
    browser.await_true("document.querySelectorAll('.edge').length === 4");
    browser.press(TAB);
    assert_eq!(browser.text("document.activeElement.innerText"), "Skip to the content");
    browser.press(ENTER);
    assert_eq!(browser.text("document.activeElement.id"), "main");

    browser.tab_to(".edge.dropped");
    browser.press(SPACE);
    browser.await_true("document.querySelector('.policy-text')");
    browser
        .await_true("document.querySelector('.unseen').textContent.startsWith('Policy shop/db-ingress: ')");
    browser.tab_to(".policy-text button");
    browser.press(ENTER);
    browser.await_true("!document.querySelector('.policy-text')");
    assert_eq!(browser.run("return document.activeElement.matches('.edge.dropped.chosen')"), true);

    browser.tab_to("[name=by][value=workload]");
    browser.press(DOWN);
    browser.await_true("location.hash === '#map?by=service' && document.querySelector('.node.service')");

    browser.tab_to("nav a[href^='#flows']");
    browser.press(ENTER);
    browser.await_true("document.querySelector('table.flows')");
    browser.tab_to("select[name=value]");
    browser.press("f");
    browser.tab_to("button[type=submit]");
    browser.press(ENTER);
    browser.await_true(
        "document.querySelectorAll('tbody tr').length === 1 && document.querySelector('tr.forwarded')",
    );
    browser.tab_to(".chips a");
    browser.press(ENTER);
    browser.await_true("document.querySelectorAll('tbody tr').length === 4");
    assert_eq!(browser.text("document.activeElement.name"), "field");
    browser.tab_to("tbody button");
    browser.press(&DOWN.repeat(2));
    browser.press(ENTER);
    browser.await_true(
        "document.querySelector('tbody tr:nth-child(3).chosen') && document.querySelector('.detail')",
    );
    browser.tab_to("summary");
    browser.press(ENTER);
    browser.await_true("document.querySelector('details[open] pre').innerText.includes('\"verdict\"')");
    browser.tab_to(".detail a");
    browser.press(ENTER);
    browser.await_true("document.querySelector('main h2.allowed, main h2.denied, main .error')");
    assert!(browser.text("document.title").starts_with("Explain · "));
    browser.tab_to("header button");
    browser.press(SPACE);
    browser.await_true("document.querySelector('.connection').innerText === 'paused'");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn every_text_has_contrast_and_every_control_a_name() {
    let (page, browser) = start();
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.prefer(scheme);
        for (view, drawn) in VIEWS {
            browser.open(&format!("http://127.0.0.1:{}/#{view}", page.port));
            browser.await_true(&format!("document.querySelector('main {drawn}')"));
            browser.tab_to("button.policy, tbody tr:last-child button");
            browser.press(ENTER);
            browser.await_true("document.querySelector('.yaml')");
            assert_eq!(browser.faint_texts(), serde_json::json!([]), "{scheme:?} {view}");
            assert_eq!(browser.unnamed(), [""; 0], "{view}");
            browser.picture(&format!("{scheme:?}-{}", name(view)).to_lowercase());
        }
    }
    // Both were looked at.
    assert_eq!(browser.text("getComputedStyle(document.body).backgroundColor"), "rgb(21, 24, 28)");
}
