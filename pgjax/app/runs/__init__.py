"""How it is carried out: training, its files, its processes, and going on."""
