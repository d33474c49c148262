//! What a stage costs as a line: so much for a slot, and so much for each operation in it.

/// `fixed + each * count`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    pub(crate) fixed: f64,
    pub(crate) each: f64,
}

impl Line {
    /// The line with the least sum of squared relative errors: slots of one operation count as much as full ones. No cost is negative.
    pub(crate) fn through(points: &[(f64, f64)]) -> Line {
        let (mut s, mut sx, mut sxx, mut sy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, y) in points {
            let weight = y.max(1e-9).powi(-2);
            s += weight;
            sx += weight * x;
            sxx += weight * x * x;
            sy += weight * y;
            sxy += weight * x * y;
        }
        let each = (s * sxy - sx * sy) / (s * sxx - sx * sx);
        Line { fixed: ((sy - each * sx) / s).max(0.0), each: each.max(0.0) }
    }

    pub(crate) fn at(self, count: f64) -> f64 {
        self.fixed + self.each * count
    }
}
