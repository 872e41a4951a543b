"""One machine's processes: started as soon as what they need is known, kept running, ended in order."""
