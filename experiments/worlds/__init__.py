"""Every environment of every suite: is its adapter right, and what does it cost?"""
