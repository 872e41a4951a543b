"""The worker: ext_proc server, follower, journal writer and fold in one process, programmed over ADS."""
