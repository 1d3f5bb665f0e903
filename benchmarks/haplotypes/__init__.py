"""Personal sequences of Enformer's length: zarrbench beside its peers and beside the copy limit."""
