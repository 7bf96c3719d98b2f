"""The training store: int16 shards at 1 µV, a Parquet index and a JSON manifest.

Five lines read a record without this package:

    row = pandas.read_parquet("store/index.parquet").iloc[0]
    with open(f"store/shard-{row.shard:05d}.i16", "rb") as file:
        file.seek(row.offset)
        samples = numpy.fromfile(file, "<i2", row.num_samples * 12).reshape(-1, 12)
    millivolt = numpy.where(samples == -32768, numpy.nan, samples / 1000)
"""
