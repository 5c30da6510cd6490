//! A browser without a window, for tests of the page that the agent serves. As in any test, what does not work panics.

mod driver;
mod keys;
mod look;

use std::{
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use driver::Driver;
pub use keys::{DOWN, ENTER, ESCAPE, SPACE, TAB};
pub use look::Scheme;

/// Whatever is waited for takes this long at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// The member of an element's reference that names it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Chromium and what drives it (<https://www.w3.org/TR/webdriver2/>); both end with the value.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    /// Goes after the browser that writes into it.
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one in which `rebound.example` is this machine.
    ///
    /// # Panics
    /// If Chromium or its driver is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let folder = format!("--user-data-dir={}", profile.path().display());
        // Root has no sandbox, and containers have a small /dev/shm.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--force-prefers-reduced-motion",
            "--host-resolver-rules=MAP rebound.example 127.0.0.1",
            &folder,
        ];
        let wanted = json!({
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        Self { driver: Driver::start(&wanted), _profile: profile }
    }

    /// Goes to an address.
    pub fn open(&self, url: &str) {
        self.driver.command("POST", "/url", &json!({"url": url}));
    }

    /// What the body of a function returns.
    pub fn run(&self, script: &str) -> Value {
        self.driver.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// What an expression is, as a text.
    ///
    /// # Panics
    /// If it is no text.
    #[must_use]
    pub fn text(&self, expression: &str) -> String {
        let value = self.run(&format!("return {expression}"));
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it is not within a minute, with what the page says instead.
    #[track_caller]
    pub fn await_true(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != Value::Bool(true) {
            let text = || self.text("document.body.innerText");
            assert!(Instant::now() < deadline, "never true: {expression}; the page says\n{}", text());
            std::thread::yield_now();
        }
    }

    /// Types into the element that a CSS selector finds first, once there is one.
    ///
    /// # Panics
    /// If there is none within a minute.
    #[track_caller]
    pub fn type_into(&self, selector: &str, keys: &str) {
        self.await_true(&format!("document.querySelector({selector:?})"));
        let element = &self.elements(selector)[0];
        self.driver.command("POST", &format!("/element/{element}/value"), &json!({"text": keys}));
    }

    fn elements(&self, selector: &str) -> Vec<String> {
        let using = json!({"using": "css selector", "value": selector});
        let elements = self.driver.command("POST", "/elements", &using);
        let name = |element: &Value| element[ELEMENT].as_str().unwrap().to_owned();
        elements.as_array().unwrap().iter().map(name).collect()
    }

    /// Writes a picture of the window into `target/page`.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn picture(&self, name: &str) {
        let text = self.driver.command("GET", "/screenshot", &Value::Null);
        let program = env::current_exe().unwrap();
        // Tests lie in `target/PROFILE/deps`.
        let folder: PathBuf = program.ancestors().nth(3).unwrap().join("page");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), STANDARD.decode(text.as_str().unwrap()).unwrap())
            .unwrap();
    }

    /// What scripts and the browser have complained about since this was asked last.
    ///
    /// # Panics
    /// If the browser does not say.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.driver.command("POST", "/se/log", &json!({"type": "browser"}));
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(text).collect()
    }
}
