use serde_json::{Value, json};

use crate::Browser;

/// What the reader prefers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// Ratios of contrast as in <https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio>, of every text that is shown with the first opaque
/// background behind it: what has less than 4.5.
const FAINT_TEXTS: &str = "
    const channel = (value) => value <= 0.03928 * 255 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const box = at.tagName === 'g' && at.querySelector(':scope > rect, :scope > circle');
            const colour = box ? getComputedStyle(box).fill : getComputedStyle(at).backgroundColor;
            if ((parts(colour)[3] ?? 1) === 1) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const found = new Set();
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const element = texts.currentNode.parentElement;
        if (!texts.currentNode.data.trim() || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const ink = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
        const [a, b] = [ink, behind(element)].map((colour) => light(parts(colour))).sort((a, b) => b - a);
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < 4.5) found.add(`${texts.currentNode.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return [...found]";

impl Browser {
    /// Sets the window's size, in CSS pixels with its borders.
    pub fn resize(&self, width: u32, height: u32) {
        self.driver.command("POST", "/window/rect", &json!({"width": width, "height": height}));
    }

    /// Makes the page believe that it is on a telephone so wide and high, in CSS pixels: windows cannot be so narrow.
    pub fn telephone(&self, width: u32, height: u32) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": true});
        self.protocol("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Makes the page believe that its reader prefers this.
    pub fn prefer(&self, scheme: Scheme) {
        let value = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": value}]});
        self.protocol("Emulation.setEmulatedMedia", &features);
    }

    /// Texts that are hard to read: WCAG's level AA asks for a contrast of 4.5 to 1.
    #[must_use]
    pub fn faint_texts(&self) -> Value {
        self.run(FAINT_TEXTS)
    }

    /// What can be operated, is shown, and is smaller than the 24 by 24 pixels that WCAG's level AA asks for; links within a text may be.
    #[must_use]
    pub fn small_targets(&self) -> Value {
        self.run(
            "return [...document.querySelectorAll('button, input, select, summary, nav a, a.remove')]
                .filter((element) => element.checkVisibility())
                .map((element) => [element.closest('label')?.querySelector('[type=checkbox], [type=radio]')
                    ? element.closest('label') : element, element])
                .filter(([target]) => { const {width, height} = target.getBoundingClientRect(); return width < 24 || height < 24; })
                .map(([, element]) => element.outerHTML.slice(0, 80))",
        )
    }

    /// What can be operated and has no name that a screen reader could say, as the browser computes it.
    ///
    /// # Panics
    /// If nothing can be operated.
    #[must_use]
    pub fn unnamed(&self) -> Vec<String> {
        let controls = self.elements("a, button, input, select, summary, [role=button]");
        assert!(!controls.is_empty(), "nothing to operate");
        let ask = |element: &String, what: &str| {
            self.driver.command("GET", &format!("/element/{element}/{what}"), &Value::Null)
        };
        let unnamed = controls.iter().filter(|element| ask(element, "computedlabel") == "");
        unnamed.map(|element| ask(element, "property/outerHTML").to_string()).collect()
    }

    /// A command of <https://chromedevtools.github.io/devtools-protocol/>.
    fn protocol(&self, command: &str, parameters: &Value) {
        self.driver.command("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }
}
