//! Row-major matrices on the host: the few operations that files and the library need.

/// Row-major `[rows, columns] -> [columns, rows]`.
pub fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut output = Vec::with_capacity(values.len());
    for column in 0..columns {
        output.extend((0..rows).map(|row| values[row * columns + column]));
    }
    output
}

/// Row-major `[size, size]`, ones on the diagonal.
pub fn identity(size: usize) -> Vec<f32> {
    (0..size * size).map(|index| if index % (size + 1) == 0 { 1.0 } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_the_identity() {
        let values: Vec<f32> = (0..6).map(|value| value as f32).collect();
        assert_eq!(transpose(&values, 2, 3), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(transpose(&transpose(&values, 2, 3), 3, 2), values);
    }

    #[test]
    fn an_empty_matrix_stays_empty() {
        assert!(transpose(&[], 0, 3).is_empty());
        assert!(transpose(&[], 3, 0).is_empty());
    }
}
