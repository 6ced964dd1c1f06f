"""What pictures share: styles, scales, legends, families of curves, fields. No torch."""
