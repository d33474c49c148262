//! A sequence diagram of some steps, as one self-contained SVG.
//!
//! Time runs downwards, one row a step. A message is an arrow from the row in which it was sent to the row in which it arrives; a timer is a
//! circle, a restart a cross; what they are stands to the right of the lanes. Every shape has both a class of the stateright Explorer, whose style sheet then colours it, and colours of its
//! own for other viewers. What is broken is red in both, which takes an inline style.

use super::{StepKind, StoryStep};
use std::fmt::Write;

const MARGIN: usize = 40;
const ROW: usize = 30;
const LANE_MIN: usize = 100;
/// Estimated width of a character of a label, in a 12-pixel monospaced font.
const CHARACTER: usize = 8;
const FONT: &str = "font-family='monospace' font-size='12' xml:space='preserve'";
const LINE: &str = "class='svg-event-line' stroke='#667788' style='fill:none'";
const SHAPE: &str = "class='svg-event-shape' stroke='#667788' fill='#667788'";
const BROKEN: &str = "style='fill:#d02020;stroke:#d02020'";
const BROKEN_LINE: &str = "style='fill:none;stroke:#d02020'";
const BROKEN_TEXT: &str = "style='fill:#d02020;font-weight:bold'";

/// The diagram of `steps`. `lanes` names actors whose lanes stand first, in this order, whether or not they take part; the others follow as they appear.
pub fn sequence_diagram(lanes: &[String], steps: &[StoryStep]) -> String {
    let lanes = all_lanes(lanes, steps);
    let lane_width = lanes.iter().map(|name| name.chars().count() * CHARACTER + 24).max().unwrap_or(0).max(LANE_MIN);
    let plot = Plot { lane_width, lanes: &lanes };
    let labels: Vec<String> = steps.iter().map(label).collect();
    let rows: usize = steps.iter().map(|step| 1 + step.broke.len()).sum();
    let widest = steps.iter().zip(&labels).map(|(step, label)| label_width(step, label)).max().unwrap_or(0);
    let width = plot.right() + widest + MARGIN;
    let height = MARGIN + (rows + 2) * ROW;

    let mut svg = format!(
        "<svg version='1.1' width='{width}' height='{height}' viewBox='0 0 {width} {height}' xmlns='http://www.w3.org/2000/svg'>\n\
         <defs>\n\
         <marker id='arrow' markerWidth='10' markerHeight='8' refX='10' refY='4' orient='auto' markerUnits='userSpaceOnUse'>\
         <polygon points='0 0, 10 4, 0 8' {SHAPE} /></marker>\n\
         <marker id='arrow-broken' markerWidth='10' markerHeight='8' refX='10' refY='4' orient='auto' markerUnits='userSpaceOnUse'>\
         <polygon points='0 0, 10 4, 0 8' {BROKEN} /></marker>\n\
         </defs>\n"
    );
    for name in &lanes {
        let x = plot.x(name);
        let _ = writeln!(
            svg,
            "<line x1='{x}' y1='{MARGIN}' x2='{x}' y2='{}' class='svg-actor-timeline' stroke='#b0bac4' />\n\
             <text x='{x}' y='{}' text-anchor='middle' class='svg-actor-label' fill='#203040' {FONT} font-weight='bold'>{}</text>",
            height - ROW,
            MARGIN - 12,
            escaped(name),
        );
    }
    let rows = row_of_each(steps);
    for (index, step) in steps.iter().enumerate() {
        shape(&mut svg, &plot, steps, &rows, index);
        let (x, y) = (plot.x(&step.actor), plot.y(rows[index]));
        let colour = if step.broke.is_empty() { "" } else { BROKEN_TEXT };
        let mut text = |x: usize, y: usize, colour: &str, text: &str| {
            let text = escaped(text);
            let _ = writeln!(
                svg,
                "<text x='{x}' y='{y}' class='svg-event-label' fill='#203040' {FONT} {colour}>{text}</text>"
            );
        };
        text(x + 10, y + 4, colour, &step.number.to_string());
        text(plot.right(), y + 4, colour, &labels[index]);
        for (line, rule) in step.broke.iter().enumerate() {
            text(plot.right() + 4 * CHARACTER, y + 4 + (line + 1) * ROW * 2 / 3, BROKEN_TEXT, &shown(rule));
        }
    }
    svg.push_str("</svg>\n");
    svg
}

struct Plot<'a> {
    lane_width: usize,
    lanes: &'a [String],
}

impl Plot<'_> {
    fn x(&self, lane: &str) -> usize {
        let index = self.lanes.iter().position(|name| name == lane).unwrap_or(0);
        MARGIN + self.lane_width / 2 + index * self.lane_width
    }

    fn y(&self, row: usize) -> usize {
        MARGIN + row * ROW
    }

    fn right(&self) -> usize {
        MARGIN + self.lanes.len() * self.lane_width
    }
}

fn all_lanes(first: &[String], steps: &[StoryStep]) -> Vec<String> {
    let mut lanes = first.to_vec();
    let mut add = |name: &String| {
        if !lanes.contains(name) {
            lanes.push(name.clone());
        }
    };
    for step in steps {
        add(&step.actor);
        if let StepKind::Deliver { src, dst, .. } = &step.kind {
            add(src);
            add(dst);
        }
        step.sends.iter().for_each(|(receiver, _)| add(receiver));
    }
    if first.is_empty() {
        // The replicas stand together, the clients beside them.
        lanes.sort_by_key(|name| (!name.starts_with("node"), name.clone()));
    }
    lanes
}

/// The row of each step: 0 is the initial state, and the rules that a step breaks take rows of their own below it.
fn row_of_each(steps: &[StoryStep]) -> Vec<usize> {
    let mut next = 1;
    let row = |step: &StoryStep| {
        let row = next;
        next += 1 + step.broke.len();
        row
    };
    steps.iter().map(row).collect()
}

fn label(step: &StoryStep) -> String {
    let number = step.number;
    match &step.kind {
        StepKind::Deliver { src, dst, label } => format!("{number:>2}  {src} → {dst}: {label}"),
        StepKind::Timeout { node, label } => format!("{number:>2}  {node}: {label} timer"),
        StepKind::Restart { node } => format!("{number:>2}  {node}: restart"),
    }
}

/// As much of a reason as a diagram has room for; the story has all of it.
fn shown(rule: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    match rule.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &rule[..end]),
        None => rule.to_string(),
    }
}

fn label_width(step: &StoryStep, label: &str) -> usize {
    let rule = step.broke.iter().map(|rule| 4 + shown(rule).chars().count()).max().unwrap_or(0);
    rule.max(label.chars().count()) * CHARACTER
}

fn shape(svg: &mut String, plot: &Plot<'_>, steps: &[StoryStep], rows: &[usize], index: usize) {
    let step = &steps[index];
    let (line, form) = if step.broke.is_empty() { (LINE, SHAPE) } else { (BROKEN_LINE, BROKEN) };
    match &step.kind {
        StepKind::Deliver { src, dst, label } => {
            let sent = |earlier: &StoryStep| {
                earlier.actor == *src && earlier.sends.iter().any(|(to, what)| to == dst && what == label)
            };
            let from = steps[..index].iter().rposition(sent).map_or(0, |sender| rows[sender]);
            let (x1, y1, x2, y2) = (plot.x(src), plot.y(from), plot.x(dst), plot.y(rows[index]));
            let head = if step.broke.is_empty() { "arrow" } else { "arrow-broken" };
            let _ = if x1 == x2 {
                // A message to itself leaves its lane and comes back.
                let out = x1 - 40;
                writeln!(
                    svg,
                    "<path d='M {x1} {y1} C {out} {y1}, {out} {y2}, {x2} {y2}' marker-end='url(#{head})' {line} stroke-width='2' />"
                )
            } else {
                writeln!(
                    svg,
                    "<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' marker-end='url(#{head})' {line} stroke-width='2' />"
                )
            };
        }
        StepKind::Timeout { node, .. } => {
            let _ = writeln!(svg, "<circle cx='{}' cy='{}' r='7' {form} />", plot.x(node), plot.y(rows[index]));
        }
        StepKind::Restart { node } => {
            let (x, y) = (plot.x(node), plot.y(rows[index]));
            let (left, right, top, bottom) = (x - 7, x + 7, y - 7, y + 7);
            let _ = writeln!(
                svg,
                "<path d='M {left} {top} L {right} {bottom} M {left} {bottom} L {right} {top}' {line} stroke-width='3' />"
            );
        }
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&apos;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::{ROW, escaped, sequence_diagram};
    use crate::report::{StepKind, samples};

    #[test]
    fn a_message_is_drawn_from_where_it_was_sent_to_where_it_arrives() {
        let example = samples::counterexample();
        let svg = sequence_diagram(&[], &example.steps);
        // Sent in step 3 by node 0 (first lane), delivered in step 6 to node 1 (second lane).
        let (x0, x1) = (40 + 50, 40 + 150);
        let wanted = format!("<line x1='{x0}' y1='{}' x2='{x1}' y2='{}'", 40 + 3 * ROW, 40 + 6 * ROW);
        assert!(svg.contains(&wanted), "{wanted} is not in {svg}");
    }

    #[test]
    fn what_is_broken_is_red_and_timers_and_restarts_are_drawn() {
        let svg = sequence_diagram(&[], &samples::counterexample().steps);
        assert!(svg.contains("#d02020;font-weight:bold'>promises-kept: node 1 votes"));
        assert_eq!(svg.matches("<circle").count(), 1);
        assert!(svg.contains("> 5  node 1: restart<"));
        for name in ["node 0", "node 1", "node 2"] {
            assert!(svg.contains(&format!(">{name}</text>")));
        }
    }

    #[test]
    fn lanes_that_are_given_come_first() {
        let svg =
            sequence_diagram(&["node 2".into(), "node 0".into(), "idle".into()], &samples::counterexample().steps);
        let at = |name: &str| svg.find(&format!(">{name}</text>")).unwrap();
        assert!(at("node 2") < at("node 0") && at("node 0") < at("idle") && at("idle") < at("node 1"));
    }

    #[test]
    fn names_cannot_break_the_markup_and_no_steps_still_draw() {
        assert_eq!(escaped("a<b & 'c'"), "a&lt;b &amp; &apos;c&apos;");
        assert!(sequence_diagram(&[], &[]).ends_with("</svg>\n"));
        let mut example = samples::counterexample();
        example.steps[1].kind =
            StepKind::Deliver { src: "node 1".into(), dst: "node 1".into(), label: "Vote<'a'>".into() };
        assert!(sequence_diagram(&[], &example.steps).contains("<path d='M 190 40 C"));
    }
}
