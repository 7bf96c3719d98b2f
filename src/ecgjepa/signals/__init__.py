"""What an ECG is: leads, units, the record, and the numeric steps that prepare it."""
