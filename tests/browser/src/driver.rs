use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::PATIENCE;

/// A session of `chromedriver`: JSON over HTTP, of which a test needs little.
#[derive(Debug)]
pub(crate) struct Driver {
    process: Child,
    port: u16,
    session: String,
}

impl Driver {
    /// Starts it, and a browser with these capabilities.
    pub(crate) fn start(capabilities: &Value) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process =
            command.spawn().unwrap_or_else(|e| panic!("chromedriver: {e}; `cargo xtask setup` installs it"));
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next().expect("chromedriver says its port").unwrap();
            if let Some((_, port)) = line.split_once("successfully on port ") {
                break port.trim_end_matches('.').parse().unwrap();
            }
        };
        let mut driver = Self { process, port, session: String::new() };
        let session = driver.command("POST", "", &json!({"capabilities": {"alwaysMatch": capabilities}}));
        driver.session = format!("/{}", session["sessionId"].as_str().unwrap());
        driver
    }

    #[track_caller]
    pub(crate) fn command(&self, method: &str, path: &str, body: &Value) -> Value {
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
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It ends its browser when the session is deleted.
        if let Err(error) = self.tried("DELETE", "", &Value::Null) {
            eprintln!("the browser may be left behind: {error}");
        }
        if let Err(error) = self.process.kill().and_then(|()| self.process.wait()) {
            eprintln!("chromedriver may be left behind: {error}");
        }
    }
}
