"""Architectures for tests."""

# Table 3 with the padding of 1 that it needs, and the flattened sizes that follow.
TABLE_3 = {
    # 8 -> conv 8 -> pool 8 -> conv 8 -> pool (8 - 3) // 2 + 1 = 3
    "PID": (
        dict(
            n_features=8,
            conv_channels=(8, 16),
            kernel_size=3,
            pool_size=(1, 3),
            pool_stride=(1, 2),
            padding=1,
        ),
        16 * 3,
    ),
    # 30 -> 30 -> 30 -> 30 -> (30 - 3) // 2 + 1 = 14
    "CCFD": (
        dict(
            n_features=30,
            conv_channels=(8, 16),
            kernel_size=3,
            pool_size=(1, 3),
            pool_stride=(1, 2),
            padding=1,
        ),
        16 * 14,
    ),
    # 22 -> 22 + 2 - 7 = 17 -> 8 -> 8 + 2 - 7 = 3 -> 1
    "PDC": (
        dict(
            n_features=22,
            conv_channels=(8, 16),
            kernel_size=8,
            pool_size=2,
            pool_stride=2,
            padding=1,
        ),
        16 * 1,
    ),
    # 10 -> 10 -> 5 -> 5 -> 2
    "Diabetes": (
        dict(n_features=10, conv_channels=(64, 128), padding=1),
        128 * 2,
    ),
    # 11 -> 11 -> 5 -> 5 -> 2
    "Insurance": (
        dict(n_features=11, conv_channels=(64, 128), padding=1),
        128 * 2,
    ),
    # 8 -> 8 -> 4 -> 4 -> 2
    "CHP": (
        dict(n_features=8, conv_channels=(32, 64), padding=1),
        64 * 2,
    ),
}
