//! The report as one HTML file that loads nothing from elsewhere.

use anyhow::Result;

use super::{RunReport, charts, figures};
use crate::report::plot::{STYLE as PLOT_STYLE, escape};

/// Most bytes of JSON that a page brings along: browsers open such a file at once. A longer one stays beside the page.
const JSON_BYTES_MAX: usize = 16 << 20;

/// Nothing may be loaded, whatever gets into the page: neither from elsewhere nor from this directory.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'";

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#f5f7fa;--card:#fff;--ink:#1c2430;--soft:#5b6675;--line:#dde2e9;--good:#0b7a4b;\
--bad:#b3261e;--note:#8a5a00}\
@media(prefers-color-scheme:dark){:root{--back:#12161c;--card:#1b212a;--ink:#e8ecf2;--soft:#9aa6b6;--line:#333c48;\
--good:#4fd39a;--bad:#ff8a80;--note:#ffc766}}\
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:16px/1.45 system-ui,sans-serif}\
main{max-width:1180px;margin:0 auto;padding:16px}h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.1rem;margin:0 0 .6em}\
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px;margin:0 0 16px}\
.verdict{border-left:8px solid var(--good)}.verdict.failed{border-left-color:var(--bad)}\
.word{font-weight:700;color:var(--good)}.failed .word,.finding{color:var(--bad)}.remark{color:var(--note)}\
.soft{color:var(--soft)}.grid{display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr))}\
.grid section{margin:0}.plots{margin-bottom:16px}table{border-collapse:collapse;width:100%;font-size:.92rem}\
th,td{text-align:left;padding:.3em .6em .3em 0;border-top:1px solid var(--line);vertical-align:top;\
overflow-wrap:anywhere}th{font-weight:400;color:var(--soft);width:38%}tr:first-child>*{border-top:0}\
pre{overflow-x:auto;font-size:.85rem;margin:.6em 0 0}summary{cursor:pointer}\
button{font:inherit;padding:.35em .9em;border-radius:6px;border:1px solid var(--line);background:var(--back);\
color:inherit;cursor:pointer}";

/// Gives the JSON within the page as a file.
const SCRIPT: &str = "\
document.getElementById('save').addEventListener('click',()=>{\
const link=document.createElement('a');\
link.href=URL.createObjectURL(new Blob([document.getElementById('run').textContent],{type:'application/json'}));\
link.download='run.json';link.click();URL.revokeObjectURL(link.href);});";

impl RunReport {
    /// The whole page.
    pub(super) fn page(&self) -> Result<String> {
        let title = escape(&format!("{}: load test of {}", self.profile.name, self.began_at));
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <title>{title}</title>\n<style>{STYLE}{PLOT_STYLE}</style>\n</head>\n<body>\n<main>\n\
             {}{}{}{}{}</main>\n</body>\n</html>\n",
            self.verdict_section(),
            self.figure_sections(),
            self.plot_sections(),
            self.conditions_section(),
            self.json_section()?,
        ))
    }

    fn verdict_section(&self) -> String {
        let verdict = &self.verdict;
        let (class, word) = if verdict.is_clean() {
            ("verdict", "Clean: every message accounted for")
        } else {
            ("verdict failed", "Not clean: the figures do not count")
        };
        let findings = verdict.findings.iter().map(|finding| ("finding", finding));
        let remarks = verdict.remarks.iter().map(|finding| ("remark", finding));
        let items: String = findings
            .chain(remarks)
            .map(|(class, finding)| {
                let allowed = if class == "remark" { " (does not count against it)" } else { "" };
                format!(
                    "<li class=\"{class}\">{} × {}{allowed}</li>\n",
                    figures::count(finding.count),
                    escape(&finding.what)
                )
            })
            .collect();
        let list = if items.is_empty() { items } else { format!("<ul>\n{items}</ul>\n") };
        let sum = |counts: [u64; 2]| figures::count(counts.iter().sum());
        format!(
            "<section class=\"{class}\">\n<p class=\"word\">{word}</p>\n<h1>{}</h1>\n\
             <p class=\"soft\">{}</p>\n\
             <p>{} acknowledged, {} received, {} lost, {} repeated, {} out of order, {} skipped and announced.</p>\n\
             {list}</section>\n",
            escape(&self.profile.name),
            escape(&self.profile.story),
            sum(verdict.acknowledged),
            sum(verdict.received),
            sum(verdict.lost),
            sum(verdict.repeated),
            sum(verdict.out_of_order),
            sum(verdict.skipped),
        )
    }

    fn figure_sections(&self) -> String {
        let groups = figures::figures(&self.outcome, &self.profile);
        let tables = groups.iter().map(|group| {
            let rows = group.rows.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            format!("<section>\n<h2>{}</h2>\n{}</section>\n", escape(group.title), table(rows))
        });
        format!("<div class=\"grid plots\">\n{}</div>\n", tables.collect::<String>())
    }

    fn plot_sections(&self) -> String {
        let plots = charts::plots(&self.outcome, &self.profile);
        let plots = plots.iter().map(|plot| format!("<section>\n{plot}</section>\n"));
        format!("<div class=\"grid plots\">\n{}</div>\n", plots.collect::<String>())
    }

    fn conditions_section(&self) -> String {
        let conditions = self.conditions();
        let rows = conditions.iter().map(|(name, value)| (*name, value.as_str()));
        // A profile is written to be read as TOML; one that can't be is still in the JSON.
        let profile = toml::to_string(&self.profile).map_or_else(
            |_| String::new(),
            |text| {
                format!(
                    "<details><summary>The profile as it was played</summary><pre>{}</pre></details>\n",
                    escape(&text)
                )
            },
        );
        format!("<section>\n<h2>Conditions</h2>\n{}{profile}</section>\n", table(rows))
    }

    fn json_section(&self) -> Result<String> {
        let json = self.json()?;
        if json.len() > JSON_BYTES_MAX {
            return Ok("<section>\n<h2>Raw data</h2>\n<p><a href=\"run.json\">run.json</a>, beside this page: it is \
                       too long to be part of it.</p>\n</section>\n"
                .to_owned());
        }
        Ok(format!(
            "<section>\n<h2>Raw data</h2>\n<p>Everything that was counted, second by second.</p>\n\
             <button id=\"save\">Save run.json</button>\n</section>\n\
             <script type=\"application/json\" id=\"run\">{}</script>\n<script>{SCRIPT}</script>\n",
            for_script(&json)
        ))
    }
}

fn table<'r>(rows: impl Iterator<Item = (&'r str, &'r str)>) -> String {
    let rows = rows.map(|(name, value)| {
        format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(value))
    });
    format!("<table>\n{}</table>\n", rows.collect::<String>())
}

/// JSON as it may stand in a script element: the same value, without a `<` that could end the element or begin a
/// comment in it. Outside of strings JSON has none.
fn for_script(json: &str) -> String {
    json.replace('<', "\\u003c")
}
