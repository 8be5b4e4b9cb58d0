"""What SunGen is compared with in Tables 3 and 8, and what a user would pick instead: one file a method."""
