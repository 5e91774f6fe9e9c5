//! Strided matrix products on slices, bounds checked.

/// A matrix inside a slice.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, row-major.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// `[rows, columns]` whose rows are `row_stride` apart.
    pub fn strided(data: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * row_stride + columns <= data.len(), "matrix inside its slice");
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The transpose, without a copy.
    pub fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Whether a product replaces what the output holds or adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `out = left right`.
    Replace,
    /// `out += left right`.
    Add,
}

/// A matrix product into rows of `out` that are `out_stride` apart, on one core.
pub fn product(out: &mut [f32], out_stride: usize, left: Matrix, right: Matrix, write: Write) {
    let (rows, inner, columns) = (left.rows, left.columns, right.columns);
    assert_eq!(inner, right.rows, "inner sizes of a product");
    if rows == 0 || columns == 0 {
        return;
    }
    assert!((rows - 1) * out_stride + columns <= out.len(), "output inside its slice");
    let keep = write == Write::Add;
    // SAFETY: both inputs are inside their slices (checked when they were made, and `transposed` only swaps
    // axes), the output is (checked above), and `out` is borrowed mutably, so nothing overlaps.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            1,
            out_stride as isize,
            keep,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            if keep { 1.0 } else { 0.0 },
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_respect_strides_and_transposition() {
        let a = [1.0, 2.0, 9.0, 3.0, 4.0, 9.0]; // 2 x 2 inside rows of 3
        let b = [1.0, 10.0, 100.0, 1000.0];
        let mut out = [5.0; 5]; // rows 3 apart
        product(&mut out, 3, Matrix::strided(&a, 2, 2, 3), Matrix::new(&b, 2, 2), Write::Replace);
        assert_eq!(out, [201.0, 2010.0, 5.0, 403.0, 4030.0]);
        product(&mut out, 3, Matrix::new(&b, 2, 2).transposed(), Matrix::new(&b, 2, 2), Write::Add);
        assert_eq!(out, [201.0 + 10001.0, 2010.0 + 100_010.0, 5.0, 403.0 + 100_010.0, 4030.0 + 1_000_100.0]);
    }
}
