//! A tree of additions as a drawing.

use std::fmt::Write;

use super::Order;

/// Pixels between two columns of a drawing.
const COLUMN_WIDTH: f64 = 10.0;

/// The height of a drawing without its labels, where levels are not further apart than this.
const HEIGHT: f64 = 600.0;
const LEVEL_HEIGHT: f64 = 20.0;

/// Space around a drawing; below, for the numbers of the columns.
const MARGIN: f64 = 30.0;

impl Order {
    /// The tree in the DOT language of Graphviz: columns are boxes, additions point to what they add.
    pub fn to_dot(&self) -> String {
        let mut dot = "digraph order {\n  node [shape=point];\n".to_owned();
        for column in 0..self.cols {
            line(&mut dot, format_args!("  n{column} [shape=box, label=\"{column}\"];"));
        }
        for (at, [a, b]) in self.sums.iter().enumerate() {
            line(&mut dot, format_args!("  n{sum} -> n{a};\n  n{sum} -> n{b};", sum = self.cols + at));
        }
        dot + "}\n"
    }

    /// The tree as an SVG picture: columns at the bottom, in the order in which a walk from the left meets them, additions as
    /// high above them as the longest way to them.
    pub fn to_svg(&self) -> String {
        let (depths, depth) = (self.depths(), self.depth());
        let level = (HEIGHT / depth.max(1) as f64).min(LEVEL_HEIGHT);
        let bottom = MARGIN + level * depth as f64;
        let across = self.across();
        let y = |node: usize| bottom - level * depths[node] as f64;
        let (width, height) = (COLUMN_WIDTH * self.cols as f64 + 2.0 * MARGIN, bottom + MARGIN);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height:.1}\" \
             font-family=\"sans-serif\" font-size=\"7\" text-anchor=\"middle\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        for (at, &[a, b]) in self.sums.iter().enumerate() {
            let top = y(self.cols + at);
            let path = format_args!(
                "<path fill=\"none\" stroke=\"black\" d=\"M{:.1} {:.1}V{top:.1}H{:.1}V{:.1}\"/>",
                across[a],
                y(a),
                across[b],
                y(b)
            );
            line(&mut svg, path);
        }
        for (column, x) in across[..self.cols].iter().enumerate() {
            line(&mut svg, format_args!("<text x=\"{x:.1}\" y=\"{:.1}\">{column}</text>", bottom + 10.0));
        }
        svg + "</svg>\n"
    }

    /// How far to the right each column and each addition stands.
    fn across(&self) -> Vec<f64> {
        let mut across = vec![0.0; self.cols + self.sums.len()];
        let mut walk: Vec<usize> = across.len().checked_sub(1).into_iter().collect();
        let mut met = 0;
        while let Some(node) = walk.pop() {
            match node.checked_sub(self.cols).map(|at| self.sums[at]) {
                Some([a, b]) => walk.extend([b, a]),
                None => {
                    across[node] = MARGIN + COLUMN_WIDTH * (f64::from(met) + 0.5);
                    met += 1;
                }
            }
        }
        for (at, &[a, b]) in self.sums.iter().enumerate() {
            across[self.cols + at] = (across[a] + across[b]) / 2.0;
        }
        across
    }
}

/// Appends a line.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a string takes any text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawings_have_every_column_and_every_addition() {
        let order = Order { cols: 4, sums: vec![[0, 2], [1, 3], [4, 5]] };
        let dot = order.to_dot();
        assert_eq!((dot.matches("shape=box").count(), dot.matches("->").count()), (4, 6));
        let svg = order.to_svg();
        assert_eq!((svg.matches("<text").count(), svg.matches("<path").count()), (4, 3));
        // From the left: 0, 2, 1, 3.
        let across = order.across();
        assert!(across[0] < across[2] && across[2] < across[1] && across[1] < across[3], "{across:?}");
        assert!(Order { cols: 0, sums: vec![] }.to_svg().ends_with("</svg>\n"));
    }
}
