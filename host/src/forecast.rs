//! Where a measurement is heading, and whether it is out of the ordinary. Pure: measurements in, an estimate out.
