use serde_json::json;

use crate::Browser;

// Code points of WebDriver, https://www.w3.org/TR/webdriver2/#keyboard-actions.
/// The Enter key.
pub const ENTER: &str = "\u{e007}";
/// The Tab key.
pub const TAB: &str = "\u{e004}";
/// The arrow key that points down.
pub const DOWN: &str = "\u{e015}";
/// The Escape key.
pub const ESCAPE: &str = "\u{e00c}";
/// The space bar.
pub const SPACE: &str = " ";

/// How many times Tab is pressed before something is said not to be reachable by it.
const TABS: usize = 200;

impl Browser {
    /// Presses keys wherever the focus is.
    pub fn press(&self, keys: &str) {
        let press =
            |key: char| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()}));
        let actions: Vec<_> = keys.chars().flat_map(press).collect();
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.driver.command("POST", "/actions", &keyboard);
    }

    /// Presses Tab until the focus is on an element that a CSS selector matches, and fails if one that has the focus on the way
    /// does not show it.
    ///
    /// # Panics
    /// If it never is.
    #[track_caller]
    pub fn tab_to(&self, selector: &str) {
        let is_there = format!("return document.activeElement.matches({selector:?})");
        let shows = "const {outlineStyle, outlineWidth} = getComputedStyle(document.activeElement); \
            return document.activeElement === document.body || document.activeElement.matches('.edge') \
            || outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 || document.activeElement.outerHTML";
        for _ in 0..TABS {
            self.press(TAB);
            assert_eq!(self.run(shows), true, "does not show that it has the focus");
            if self.run(&is_there) == true {
                return;
            }
        }
        panic!("Tab never comes to {selector}; the page says\n{}", self.text("document.body.innerText"));
    }
}
