//! A browser without a window, driven as in <https://www.w3.org/TR/webdriver2/>: JSON over HTTP, of which a test needs little.

use std::{
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Whatever is waited for takes this long at most.
const PATIENCE: Duration = Duration::from_secs(60);
/// The member of an element's reference that names it.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Chromium and what drives it; both end with the value.
pub(super) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one in which `rebound.example` is this machine.
    pub(super) fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver =
            command.spawn().unwrap_or_else(|e| panic!("chromedriver: {e}; `cargo xtask setup` installs it"));
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next().expect("chromedriver says its port").unwrap();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: String::new(), profile };
        let profile = format!("--user-data-dir={}", browser.profile.path().display());
        // Root has no sandbox, and containers have a small /dev/shm.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--force-prefers-reduced-motion",
            "--host-resolver-rules=MAP rebound.example 127.0.0.1",
            &profile,
        ];
        let wanted = json!({
            "browserName": "chrome", "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        });
        let session = browser.command("POST", "", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("/{}", session["sessionId"].as_str().unwrap());
        browser
    }

    fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.tried(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error}"))
    }

    /// What it answers, or why it does not.
    fn tried(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (port, session, length) = (self.port, &self.session, body.len());
        let request = format!(
            "{method} /session{session}{path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).map_err(|e| e.to_string())?;
        // It does not hang up, whatever it is asked.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        reader.read_line(&mut String::new()).map_err(|e| e.to_string())?;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|e| e.to_string())?;
            match line.trim_end().split_once(':') {
                Some((name, number)) if name.eq_ignore_ascii_case("content-length") => {
                    length = number.trim().parse().map_err(|e| format!("{e}: {line}"))?;
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).map_err(|e| e.to_string())?;
        let body = String::from_utf8(body).map_err(|e| e.to_string())?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|e| format!("{e}: {body}"))?;
        match answer["value"]["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", answer["value"]["message"])),
            None => Ok(answer["value"].take()),
        }
    }

    pub(super) fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({"url": url}));
    }

    /// Sets the window's size, in CSS pixels with its borders.
    pub(super) fn resize(&self, width: u32, height: u32) {
        self.command("POST", "/window/rect", &json!({"width": width, "height": height}));
    }

    /// What the body of a function returns.
    pub(super) fn run(&self, script: &str) -> Value {
        self.command("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until the expression is true.
    pub(super) fn await_true(&self, expression: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.run(&format!("return Boolean({expression})")) != Value::Bool(true) {
            let text = || self.run("return document.body.innerText");
            assert!(Instant::now() < deadline, "never true: {expression}; the page says\n{}", text());
            std::thread::yield_now();
        }
    }

    /// Types into the element that a CSS selector finds first.
    pub(super) fn type_into(&self, selector: &str, keys: &str) {
        let using = json!({"using": "css selector", "value": selector});
        let element = self.command("POST", "/element", &using);
        let element = element[ELEMENT].as_str().unwrap();
        self.command("POST", &format!("/element/{element}/value"), &json!({"text": keys}));
    }

    /// Presses keys wherever the focus is.
    pub(super) fn press(&self, keys: &str) {
        let actions: Vec<_> = keys
            .chars()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({"type": kind, "value": key.to_string()})))
            .collect();
        let keyboard = json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]});
        self.command("POST", "/actions", &keyboard);
    }

    /// Writes a picture of the window into `target/page`.
    pub(super) fn picture(&self, name: &str) {
        let text = self.command("GET", "/screenshot", &Value::Null);
        let program = env::current_exe().unwrap();
        let folder: PathBuf = program.ancestors().nth(3).unwrap().join("page");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(format!("{name}.png")), STANDARD.decode(text.as_str().unwrap()).unwrap())
            .unwrap();
    }

    /// What scripts and the browser have complained about since this was asked last.
    pub(super) fn complaints(&self) -> Vec<String> {
        let log = self.command("POST", "/se/log", &json!({"type": "browser"}));
        let text = |entry: &Value| entry["message"].as_str().unwrap_or_default().to_owned();
        log.as_array().unwrap().iter().map(text).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser when the session is deleted.
        if let Err(error) = self.tried("DELETE", "", &Value::Null) {
            eprintln!("the browser may be left behind: {error}");
        }
        if let Err(error) = self.driver.kill().and_then(|()| self.driver.wait()) {
            eprintln!("chromedriver may be left behind: {error}");
        }
    }
}
