def run(c):
    pass
