//! What the demo looks like: a scene turned into lines of 80 columns, 24 of them.
//!
//! Always true: pure; colours are put around text that has its width already, so they never move it.

use std::time::Duration;

use super::gateway::Ledger;
use super::screen::{Paint, Tone};

/// Widest line.
const COLUMNS: usize = 80;
/// Commands and log lines shown.
pub(super) const COMMANDS: usize = 3;
pub(super) const LOG_LINES: usize = 4;
/// Widths of a station's name, and of a station with the arrow after it.
const NAME: usize = 9;
const STATION: usize = 13;

/// Everything the view knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Scene {
    pub(super) elapsed: Duration,
    pub(super) duration: Option<Duration>,
    pub(super) connected: bool,
    pub(super) ledger: Ledger,
    pub(super) sent: u64,
    pub(super) devices: Vec<DeviceLine>,
    pub(super) commands: Vec<CommandLine>,
    pub(super) log: Vec<String>,
    /// Samples were acknowledged since the frame before.
    pub(super) flows: bool,
    /// Number of the frame.
    pub(super) frame: usize,
}

/// One device as the platform has it.
#[derive(Debug, Clone, Default)]
pub(super) struct DeviceLine {
    pub(super) name: String,
    pub(super) habit: String,
    /// Whether it answers the gateway.
    pub(super) online: bool,
    pub(super) reason: String,
    /// Counter, temperature, load, setpoint; empty before the first arrived.
    pub(super) values: [String; 4],
    pub(super) age: Option<Duration>,
}

impl DeviceLine {
    /// It does not answer, and the gateway says why; before the first try there is nothing to say.
    fn is_silent(&self) -> bool {
        !self.online && !self.reason.is_empty()
    }
}

/// One command and what became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct CommandLine {
    pub(super) at: Duration,
    pub(super) what: String,
    /// `Ok` when confirmed; `None` while it is on its way.
    pub(super) outcome: Option<Result<Duration, String>>,
}

/// The whole frame.
pub(super) fn frame(scene: &Scene, paint: Paint) -> Vec<String> {
    let mut lines = vec![title(scene, paint), String::new()];
    lines.extend(path(scene, paint));
    lines.push(String::new());
    lines.push(paint.put(Tone::Strong, &table_head()));
    lines.extend(scene.devices.iter().map(|device| table_row(device, paint)));
    lines.push(String::new());
    lines.push(paint.put(Tone::Strong, " a command goes down every few seconds"));
    lines.extend((0..COMMANDS).map(|at| scene.commands.get(at).map_or(String::new(), |c| command(c, paint))));
    lines.push(String::new());
    lines.push(paint.put(Tone::Strong, " the gateway's log"));
    lines.extend(
        scene
            .log
            .iter()
            .map(|line| paint.put(Tone::Faint, &format!(" {}", cut(&short(&clean(line)), COLUMNS - 2)))),
    );
    lines
}

/// The same in one line, for where there is no terminal.
pub(super) fn line(scene: &Scene) -> String {
    let Ledger { read, stored, acknowledged, waiting, .. } = scene.ledger;
    let devices: Vec<String> = scene
        .devices
        .iter()
        .map(|d| {
            let [counter, ..] = &d.values;
            let counter = if counter.is_empty() { "-" } else { counter };
            format!("{} {counter}{}", d.name, if d.is_silent() { " (silent)" } else { "" })
        })
        .collect();
    let sent = scene.sent;
    format!(
        "{:>5}  read {read}  stored {stored}  sent {sent}  acknowledged {acknowledged}  waiting {waiting}  |  {}",
        clock(scene.elapsed),
        devices.join("  ")
    )
}

/// One command in one line.
pub(super) fn command_line(command: &CommandLine) -> String {
    format!("{:>5}  command {}: {}", clock(command.at), command.what, outcome(command).1)
}

fn title(scene: &Scene, paint: Paint) -> String {
    let time = match scene.duration {
        Some(duration) => format!("{} of {}", clock(scene.elapsed), clock(duration)),
        None => clock(scene.elapsed),
    };
    let name = " Sagoo Edge";
    let rest = format!("{time}   Ctrl-C stops ");
    let gap = COLUMNS.saturating_sub(name.chars().count() + rest.chars().count());
    format!("{}{}{}", paint.put(Tone::Strong, name), " ".repeat(gap), paint.put(Tone::Faint, &rest))
}

/// ```text
///  press ●─┐
///  oven  ●─┼─▶  driver  ───▶ gateway ───▶ buffer ───▶ broker ───▶ SagooIOT
///  pump  ○─┘    1 204        1 204          0          1 201        1 201
///               read         stored      waiting       sent     acknowledged
/// ```
fn path(scene: &Scene, paint: Paint) -> Vec<String> {
    let Ledger { read, stored, acknowledged, waiting, .. } = scene.ledger;
    let stations = ["driver", "gateway", "buffer", "broker", "SagooIOT"];
    let numbers = [read, stored, waiting, scene.sent, acknowledged].map(|n| centred(&thousands(n)));
    let meanings = ["read", "stored", "waiting", "sent", "acknowledged"].map(centred);

    let mut names = String::new();
    for (at, station) in stations.iter().enumerate() {
        if at > 0 {
            let moves = scene.flows && scene.frame % stations.len() == at;
            names.push_str(&arrow(moves, scene.connected || at < 3, paint));
        }
        names.push_str(&paint.put(Tone::Strong, &middle(station)));
    }
    let empty = DeviceLine::default();
    let device = |at: usize| scene.devices.get(at).unwrap_or(&empty);
    let mark = |at: usize| match device(at).online {
        true => paint.put(Tone::Good, "●"),
        false => paint.put(Tone::Bad, "○"),
    };
    let name = |at: usize| format!(" {:<5} ", device(at).name);
    vec![
        format!("{}{}─┐", name(0), mark(0)),
        format!("{}{}─┼─▶{names}", name(1), mark(1)),
        format!("{}{}─┘  {}", name(2), mark(2), paint.put(Tone::Alive, &numbers.concat())),
        format!("            {}", paint.put(Tone::Faint, &meanings.concat())),
    ]
}

fn arrow(moves: bool, connected: bool, paint: Paint) -> String {
    match (connected, moves) {
        (false, _) => paint.put(Tone::Bad, "─╳─▷"),
        (true, true) => paint.put(Tone::Alive, "━━━▶"),
        (true, false) => paint.put(Tone::Faint, "───▶"),
    }
}

fn table_head() -> String {
    format!(
        " {:<21}{:>8}{:>13}{:>9}{:>11}{:>8}  {}",
        "at the platform", "counter", "temperature", "load", "setpoint", "age", "device"
    )
}

fn table_row(device: &DeviceLine, paint: Paint) -> String {
    let [counter, temperature, load, setpoint] = &device.values;
    let age = device.age.map_or(String::new(), |age| format!("{:.1} s", age.as_secs_f32()));
    let (tone, state) = match device.online {
        true => (Tone::Good, "answers"),
        false if device.is_silent() => (Tone::Bad, "silent"),
        false => (Tone::Faint, "-"),
    };
    format!(
        " {:<6}{}{counter:>8}{temperature:>13}{load:>9}{setpoint:>11}{age:>8}  {}",
        device.name,
        paint.put(Tone::Faint, &format!("{:<15}", device.habit)),
        paint.put(tone, state)
    )
}

fn command(command: &CommandLine, paint: Paint) -> String {
    let (tone, outcome) = outcome(command);
    format!(" {:>5}  {:<28}{}", clock(command.at), command.what, paint.put(tone, &outcome))
}

fn outcome(command: &CommandLine) -> (Tone, String) {
    match &command.outcome {
        None => (Tone::Alive, "on its way".to_owned()),
        Some(Ok(after)) => {
            (Tone::Good, format!("written, read back and confirmed in {} ms", after.as_millis()))
        }
        Some(Err(why)) => (Tone::Bad, why.clone()),
    }
}

/// A station of the path, or what stands below one.
fn centred(text: &str) -> String {
    format!("{}{}", middle(text), " ".repeat(STATION - NAME))
}

/// In the middle of a station's name, rather to the right: an arrow ends on the left.
fn middle(text: &str) -> String {
    let left = NAME.saturating_sub(text.chars().count()).div_ceil(2);
    format!("{:<NAME$}", format!("{}{text}", " ".repeat(left)))
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// Without what would move the cursor.
fn clean(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).collect()
}

/// A log line with the time of day instead of the whole timestamp.
fn short(line: &str) -> String {
    match line.split_once(' ') {
        Some((time, rest)) if time.ends_with('Z') && time.get(10..11) == Some("T") && time.len() > 19 => {
            format!("{} {}", &time[11..19], rest.trim_start())
        }
        _ => line.to_owned(),
    }
}

fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    text.chars().take(columns - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Paint = Paint { colours: false };

    fn scene() -> Scene {
        let device = |name: &str, online: bool| DeviceLine {
            name: name.to_owned(),
            habit: "dies, returns".to_owned(),
            online,
            reason: "no answer".to_owned(),
            values: ["12345", "182.40 °C", "48.1 %", "180.0 °C"].map(str::to_owned),
            age: Some(Duration::from_millis(12_340)),
        };
        let what = "oven setpoint := 180.5 °C".to_owned();
        let command = CommandLine {
            at: Duration::from_secs(65),
            what,
            outcome: Some(Ok(Duration::from_millis(1_163))),
        };
        Scene {
            elapsed: Duration::from_secs(3_725),
            duration: Some(Duration::from_secs(86_400)),
            connected: true,
            ledger: Ledger {
                read: 1_234_567,
                stored: 1_234_567,
                acknowledged: 1_234_500,
                ..Ledger::default()
            },
            sent: 1_234_567,
            devices: vec![device("press", true), device("oven", true), device("pump", false)],
            commands: vec![command; COMMANDS],
            log: vec!["x".repeat(300); LOG_LINES],
            flows: true,
            frame: 1,
        }
    }

    #[test]
    fn a_frame_fits_a_terminal_of_80_by_24() {
        let frame = frame(&scene(), PLAIN);
        assert!(frame.len() <= 23, "{} lines, and the cursor wants one", frame.len());
        for line in &frame {
            assert!(line.chars().count() <= COLUMNS, "{} columns: {line}", line.chars().count());
        }
    }

    #[test]
    fn colours_change_nothing_but_colours() {
        let coloured = frame(&scene(), Paint { colours: true });
        let mut stripped = Vec::new();
        for line in coloured {
            let mut text = String::new();
            for (at, part) in line.split('\x1b').enumerate() {
                text.push_str(if at == 0 { part } else { part.split_once('m').expect("a colour").1 });
            }
            stripped.push(text);
        }
        assert_eq!(stripped, frame(&scene(), PLAIN));
    }

    #[test]
    fn numbers_stand_below_their_stations() {
        let lines = path(&scene(), PLAIN);
        let middle = |line: &str, word: &str| {
            let at = line.find(word).expect(word);
            line[..at].chars().count() + word.chars().count() / 2
        };
        for (station, meaning) in [("driver", "read"), ("buffer", "waiting"), ("SagooIOT", "acknowledged")] {
            let (above, below) = (middle(&lines[1], station), middle(&lines[3], meaning));
            assert!(above.abs_diff(below) <= 2, "{station} at {above}, {meaning} at {below}");
        }
    }

    #[test]
    fn a_log_line_keeps_the_time_of_day() {
        assert_eq!(short("2026-01-02T03:04:05.678901Z  INFO app: up"), "03:04:05 INFO app: up");
        assert_eq!(short("something else"), "something else");
    }

    #[test]
    fn a_line_says_the_same_without_a_terminal() {
        let line = line(&scene());
        for part in ["62:05", "read 1234567", "acknowledged 1234500", "pump 12345 (silent)"] {
            assert!(line.contains(part), "{part} in {line}");
        }
    }
}
